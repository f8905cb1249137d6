"""The whole agent in virtual time, in a world that one number makes: wires, broker, clock, disk, kills, power cuts."""
