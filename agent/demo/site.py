"""The demo's site file: the first one that a newcomer reads."""

from __future__ import annotations

from pathlib import Path

from agent.demo.nodes import GATEWAY, HALL, JOIN_EUI, POND, VALVE

__all__ = ["PROFILES", "RADIO", "RTU", "SITE_ID", "TIMEZONE", "text"]

SITE_ID, TIMEZONE = "demo-village", "Europe/Paris"
RTU, RADIO = "rtu", "radio"
"""The names of the pseudo-terminals of the RS-485 line and of the modem."""

_TEXT = """\
# A village on your desk. `bocage demo` wrote this file: edit it, break it, and ask `bocage check` what is wrong.
# While the demo runs, from a second terminal:
#   bocage check demo/site.yaml
#   bocage read  demo/site.yaml meter-a.active_power
#   bocage write demo/site.yaml km1 on --for 2h
#   mosquitto_sub -p @BROKER@ -v -t 'bocage/v1/+/cmd/#'
version: 1
site: {id: demo-village, name: "Demo village", latitude: 47.32, longitude: 5.04, timezone: Europe/Paris,
       public_holidays: FR, school_zone: A}

# Readings leave for the supervision by this link. The demo cuts it on purpose: nothing is lost, only late.
uplink:
  url: "mqtt://127.0.0.1:@LINK@"
  protocol: 3.1.1                       # what the demo's small broker speaks; 5 otherwise
  buffer: {days: 30, max: 200 MB}       # how long and how much may wait on the box
  durability_window: 5s                 # at most this much is in memory only
  commands: {allow: ["*", garden.valve]}  # an output that is no actuator's has to be named

# The wires. The RS-485 line is a pseudo-terminal here, and a USB adapter in the cabinet.
buses:
  rs485-1: {type: modbus_rtu, port: "@RTU@", baudrate: 9600, parity: N, stopbits: 1, timeout: 500ms}
  plant:   {type: modbus_tcp, host: 127.0.0.1, port: @TCP@}
  gpio:    {type: gpio}
  radio:   {type: lora_rak_p2p, port: "@RADIO@", frequency: 868.1 MHz}        # a LoRa modem, point to point
  lora:    {type: lora_gwmp, listen: "127.0.0.1:@TCP@", gateways: ["@GATEWAY@"]}    # LoRaWAN: our own network server

# What hangs on them. The profile knows the registers.
devices:
  meter-a: {bus: rs485-1, unit_id: 1, profile: eastron_sdm120, poll: 1s}      # street lighting
  meter-b: {bus: rs485-1, unit_id: 2, profile: eastron_sdm630, poll: 5s}      # town hall
  io-1:    {bus: rs485-1, unit_id: 10, profile: relay8_di8}                   # cabinet: relays and contacts
  io-2:    {bus: plant, unit_id: 2, profile: relay8_ai8, poll: 500ms}         # school: relays and 4-20 mA
  io-3:    {bus: plant, unit_id: 1, profile: relay8_ai8, poll: 500ms}         # waterworks: relays and 4-20 mA
  hall:    {bus: lora, dev_eui: "@HALL@", join_eui: "@JOIN@", app_key: {file: keys/hall.app.key},
            profile: milesight_em300_th, stale_after: 30min}
  garden:  {bus: lora, dev_eui: "@VALVE@", join_eui: "@JOIN@", app_key: {file: keys/garden.app.key},
            profile: garden_valve, rx1_delay: 1s}                             # listens 1 s after its own words
  pond:    {bus: lora, dev_addr: "@POND@", nwk_s_key: {file: keys/pond.nwk_s.key},
            app_s_key: {file: keys/pond.app_s.key}, profile: pond_probe}      # profiles/pond_probe.yaml, with a codec
  cistern: {bus: radio, node: "01", profile: cistern_probe}                   # school: its cistern, by radio

# Raw values made into something that people talk about.
signals:
  tank-level:  {from: io-3.ai1, signal: 4-20mA, scale: [0, 100], unit: "%", stale_after: 30s}
  pump-flow:   {from: io-3.ai2, signal: 4-20mA, scale: [0, 20], unit: m3/h, stale_after: 30s}
  classroom:   {from: io-2.ai1, signal: 4-20mA, scale: [0, 40], unit: degC, stale_after: 30s}
  flow-temp:   {from: io-2.ai2, signal: 4-20mA, scale: [0, 120], unit: degC, stale_after: 30s}
  air-temp:    {from: io-2.ai3, signal: 4-20mA, scale: [-20, 40], unit: degC, stale_after: 30s}
  fountain-ct: {from: gpio.17, kind: counter, unit: L, per_pulse: 10, debounce: 20ms, initial_index: 1254300}

# The outputs, each behind its limits. Nothing writes a relay but through here. (A real burner rests longer than 2 s.)
actuators:
  km1:    {output: io-1.relay1, feedback: io-1.di1, safe_state: hold, boot_state: recompute, min_on: 2s, min_off: 2s}
  well:   {output: io-3.relay1, safe_state: off, boot_state: off, min_on: 2s, min_off: 2s}
  well-2: {output: io-3.relay2, safe_state: off, boot_state: off, min_on: 2s, min_off: 2s}
  ev1:    {output: gpio.22, active: high, safe_state: off, boot_state: off, fail: normally_closed}
  burner: {output: io-2.relay1, safe_state: off, boot_state: off, min_on: 2s, min_off: 2s}
  pump:   {output: io-2.relay2, safe_state: on, boot_state: off}

# What the village wants of them. `make demo SPEED=600` lets a day pass in 2.4 minutes.
lighting:
  local_switch: {manual_on: io-1.di5, manual_off: io-1.di6}     # MAN/0/AUTO in the cabinet: read, never fought
  circuits:
    main-street:
      actuator: km1
      meter: meter-a
      rated_power: 1800 W
      lamp: {type: led, count: 30}
      switch_on:  {event: civil_dusk}
      switch_off: {event: civil_dawn}
      part_night_off: [{from: "23:00", to: "05:00"}]
      # In the cut: a button at the bus stop, or `bocage write SITE main-street.on_demand on`.
      on_demand: {triggers: [io-1.di3], for: 15min, at_most: 6/night, only: part_night_off}
water:
  points:
    fountain:
      meter: fountain-ct
      valve: ev1
      opening_hours: {all: ["07:00-21:00"]}
      frost: {signal: air-temp, close_below: 2, reopen_above: 4, hold: 2h}
      leak: {continuous: none, burst: 3 m3/h for 10min, flow_when_closed: 20 L/h}
  tanks:
    reservoir:                          # two pumps take turns: `bocage write SITE well off` sends one to maintenance
      level: tank-level
      pumps: [{actuator: well, rated_power: 4 kW}, {actuator: well-2, rated_power: 4 kW}]
      standby_after: 15min
      start: 40 %
      stop: 85 %
      low: 10 %
      high: 95 %
      dry_run: {flow: pump-flow, no_flow: 15min}
      tariff: {cheap: ["22:30-06:30"], start: 60 %, stop: 90 %}               # more of the night's cheap current
      level_lost: {after: 2h, fill: ["02:00-04:30"], at_most: 2h}
heating:
  zones:
    school:
      sensor: classroom
      outdoor: air-temp
      control: {type: hysteresis, band: 0.3 K}
      heat_curve: {signal: flow-temp, points: [[-10, 70], [15, 50]], max_flow: 75}
      plant: {burner: burner, pump: pump, pump_overrun: 10min}
      setpoints: {comfort: 19, reduced: 16, frost: 8}
      week: {default: reduced, "mon,tue,wed,thu,fri,sat,sun": ["07:30-17:00 comfort"]}     # an eager school
      optimum_start: {initial: 30 min/K, max: 6h}

# What is to be told of any point, beside the alarms of the services.
alarms:
  no-fill:     {point: tank-level, still: 1, for: 1h, while: {actuator: well, is: on},
                text: "Le puits tourne, et le niveau reste à {value} {unit}"}
  school-cold: {point: classroom, below: 16, hysteresis: 0.5, for: 2h, when: {times: "10:00-17:00"}, severity: minor}
"""


PROFILES = {
    "cistern_probe.yaml": """\
# What the packets of the probe in the cistern say, after the byte that names the node. Edit it: this file is yours.
name: cistern_probe
lora:
  interval: 10s
  struct:
    - {field: level, type: u16be, scale: 0.1}
    - {field: temperature, type: i16be, scale: 0.1}
    - {field: battery, type: u8}
points:
  level:       {unit: cm}
  temperature: {unit: degC}
  battery:     {unit: "%"}
""",
    "garden_valve.yaml": """\
# A LoRaWAN valve: it says where it stands, and listens for a moment after each of its words (class A).
name: garden_valve
lora:
  fport: 10
  interval: 10s
  struct:
    - {field: valve, type: bool}
    - {field: battery, type: u8}
  downlink:
    - {field: valve, values: {on: "01", off: "00"}}
points:
  valve:   {writable: true}
  battery: {unit: "%"}
""",
    "pond_probe.yaml": """\
# A LoRaWAN level probe whose payload is read by a JavaScript codec, as makers publish them.
name: pond_probe
lora: {interval: 10s, codec: codecs/pond.js}
points:
  level:   {field: level, unit: m}
  battery: {unit: "%"}
""",
    "codecs/pond.js": """\
// One byte: version 1. Two bytes: the level in millimetres. One byte: the battery in %.
function decodeUplink(input) {
  var bytes = input.bytes;
  if (bytes.length !== 4 || bytes[0] !== 1) {
    return {errors: ["not a packet of version 1"]};
  }
  return {data: {level: ((bytes[1] << 8) | bytes[2]) / 1000, battery: bytes[3]}};
}
""",
}
"""Files of profiles/ beside the site file, by name."""


def text(dev: Path, broker: int, link: int, tcp: int, wires: bool = True) -> str:
    """The site file for these ports and the pseudo-terminals in `dev`; without wires it can only deliver."""
    found = {"BROKER": broker, "LINK": link, "TCP": tcp, "RTU": dev / RTU, "RADIO": dev / RADIO,
             "GATEWAY": GATEWAY, "JOIN": JOIN_EUI, "HALL": HALL, "VALVE": VALVE, "POND": POND}  # fmt: skip
    made = _TEXT if wires else _TEXT[: _TEXT.index("  commands:")]
    for name, value in found.items():
        made = made.replace(f"@{name}@", str(value))
    return made
