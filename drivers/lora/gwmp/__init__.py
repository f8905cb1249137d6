"""A LoRaWAN network server inside the agent, for gateways with the Semtech packet forwarder (README.md).

packets (UDP datagrams), phy (LoRaWAN frames), mac (commands), region (EU868), airtime, sessions, downlinks, gateways
and joins know nothing of each other's doings; server puts them together without a socket, bus is the driver.
"""
