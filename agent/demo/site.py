"""The demo's site file: the first one that a newcomer reads."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SITE_ID", "text"]

SITE_ID = "demo-village"

_TEXT = """\
# A village on your desk. `bocage demo` wrote this file: edit it, break it, and ask `bocage check` what is wrong.
# While the demo runs, from a second terminal:
#   bocage check demo/site.yaml
#   bocage read  demo/site.yaml meter-a.active_power
#   bocage write demo/site.yaml km1 on --for 2h
#   mosquitto_sub -p @BROKER@ -v -t 'bocage/v1/+/cmd/#'
version: 1
site: {id: demo-village, name: "Demo village", latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}

# Readings leave for the supervision by this link. The demo cuts it on purpose: nothing is lost, only late.
uplink:
  url: "mqtt://127.0.0.1:@LINK@"
  protocol: 3.1.1                       # what the demo's small broker speaks; 5 otherwise
  buffer: {days: 30, max: 200 MB}       # how long and how much may wait on the box
  durability_window: 5s                 # at most this much is in memory only

# The wires. The RS-485 line is a pseudo-terminal here, and a USB adapter in the cabinet.
buses:
  rs485-1: {type: modbus_rtu, port: "@RTU@", baudrate: 9600, parity: N, stopbits: 1, timeout: 500ms}
  plant:   {type: modbus_tcp, host: 127.0.0.1, port: @TCP@}
  gpio:    {type: gpio}

# What hangs on them. The profile knows the registers.
devices:
  meter-a: {bus: rs485-1, unit_id: 1, profile: eastron_sdm120, poll: 2s}      # street lighting
  meter-b: {bus: rs485-1, unit_id: 2, profile: eastron_sdm630, poll: 5s}      # town hall
  io-1:    {bus: rs485-1, unit_id: 10, profile: relay8_di8}                   # cabinet: relays and contacts
  io-3:    {bus: plant, unit_id: 1, profile: relay8_ai8}                      # waterworks: relays and 4-20 mA

# Raw values made into something that people talk about.
signals:
  tank-level:  {from: io-3.ai1, signal: 4-20mA, scale: [0, 100], unit: "%", stale_after: 30s}
  pump-flow:   {from: io-3.ai2, signal: 4-20mA, scale: [0, 20], unit: m3/h, stale_after: 30s}
  fountain-ct: {from: gpio.17, kind: counter, unit: L, per_pulse: 10, debounce: 20ms, initial_index: 1254300}

# The outputs, each behind its limits. Nothing writes a relay but through here.
actuators:
  km1:  {output: io-1.relay1, feedback: io-1.di1, safe_state: off, boot_state: off, min_off: 2s}   # street lamps
  well: {output: io-3.relay1, safe_state: off, boot_state: off, min_on: 2s, min_off: 2s}           # fills the tank
  ev1:  {output: gpio.22, active: high, safe_state: off, boot_state: off, fail: normally_closed}   # the fountain
"""


def text(rtu: Path, broker: int, link: int, tcp: int, wires: bool = True) -> str:
    """The site file for these ports and this end of the pseudo-terminal; without wires it can only deliver."""
    found = {"BROKER": broker, "LINK": link, "TCP": tcp, "RTU": rtu}
    made = _TEXT if wires else _TEXT[: _TEXT.index("# The wires.")]
    for name, value in found.items():
        made = made.replace(f"@{name}@", str(value))
    return made
