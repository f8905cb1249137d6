"""The core: buses, the last value of each point, signals, alarms, durable state."""
