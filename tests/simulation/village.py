"""The site of a seed: its devices, their wires and polls, its controls, and the moment at which its life begins."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.simulation.datagrams import Datagrams
from tests.simulation.pins import Board
from tests.simulation.plant import Heater, Slave, Tank
from tests.simulation.radio import Air, Gateway, Node, Session

__all__ = ["LATITUDE", "LONGITUDE", "RULED", "Village"]

RULED = 500_000
"""From this seed on a village has alarms, and an interlock of its well. Those before keep lives in which a fault was
found."""

LATITUDE, LONGITUDE = 47.32, 5.04
MORNING_MS = 1_800_000_000_000
"""Unix ms: 15.01.2027, 08:00 UTC."""
MINUTE_MS = 60_000
POLLS = {"m": ("5s", "7s"), "line": ("10s", "15s")}
"""Of the bench device and of those with a line of their own; a seed draws one of each."""
EDITED = ("4s", "5s", "7s")
"""Of the bench device, when a technician saved the file."""

_BENCH = """\
name: bench8
points:
  count: {register: holding, address: 0, type: u16}
  level: {register: holding, address: 1, type: u16, unit: uA}
  dimmer: {register: holding, address: 8, type: u16, writable: true, low: 0, high: 65000, unit: "%"}
  relay1: {register: coil, address: 0, writable: true}
  relay2: {register: coil, address: 1, writable: true}
  contact: {register: discrete, address: 1}
"""
_WATERWORKS = """\
name: waterworks
points:
  level: {register: input, address: 1, type: u16, unit: uA}
  pulses: {register: input, address: 2, type: u16}
  pump: {register: coil, address: 0, writable: true}
  running: {register: discrete, address: 0}
"""
_BOILER = """\
name: boiler
points:
  room: {register: input, address: 1, type: u16, unit: uA}
  flow: {register: input, address: 2, type: u16, unit: uA}
  outdoors: {register: input, address: 3, type: u16, unit: uA}
  burner: {register: coil, address: 0, writable: true}
  pump: {register: coil, address: 1, writable: true}
"""
_SENSOR = """\
name: sensor
lora:
  fport: 2
  interval: 4min
  struct: [{field: count, type: u32be}]
points:
  count: {}
"""
_VALVE = """\
name: valve
lora:
  fport: 2
  class: %s
  interval: 4min
  struct: [{field: count, type: u32be}]
  downlink: [{field: position, as: u16be, prefix: "01"}]
points:
  count: {}
  position: {writable: true, low: 0, high: 65000}
"""
_GATEWAY, _JOIN_EUI, _EUI = bytes.fromhex("0016c001ff10a235"), bytes.fromhex("24e124c0002a0001"), 0x24E1_2413_6B31_6000

_ACTUATORS: dict[str, dict[str, Any]] = {
    "lamp": {"output": "m.relay1", "safe_state": "off", "boot_state": "off"},
    "fan": {"output": "m.dimmer", "kind": "level", "safe_state": 0, "boot_state": 0},
    "street": {
        "output": "m.relay2", "feedback": "m.contact", "safe_state": "hold", "boot_state": "recompute",
        "min_on": "2min", "min_off": "2min",
    },
    "well": {
        "output": "w.pump", "feedback": "w.running", "safe_state": "off", "boot_state": "off", "min_on": "30s",
        "min_off": "60s", "max_starts_per_hour": 6, "max_on": "25min",
    },
    "burner": {
        "output": "h.burner", "safe_state": "off", "boot_state": "off", "min_on": "2min", "min_off": "3min",
        "max_starts_per_hour": 6,
    },
    "pump": {"output": "h.pump", "safe_state": "on", "boot_state": "off"},
}  # fmt: skip


@dataclass
class Village:
    """`slaves` by device, `hosts` and `ports` by name: what takes a connection to them."""

    seed: int
    now: Callable[[], float]
    later: Callable[..., Any]
    datagrams: Datagrams
    furnished: bool = True
    """Whether there may be radio and pins."""
    site: dict[str, Any] = field(init=False)
    slaves: dict[str, Slave] = field(init=False)
    hosts: dict[str, Callable[[Any], None]] = field(init=False)
    ports: dict[str, Callable[[Any], None]] = field(init=False)
    start_ms: int = field(init=False)
    air: Air | None = None
    """What radio there is: in half of the villages."""
    board: Board | None = None
    """What is wired to the pins of the box: in half of the villages."""
    keys: dict[str, bytes] = field(default_factory=dict)
    """Of its nodes, by the name of the file that has them."""
    profiles: dict[str, str] = field(
        default_factory=lambda: {"bench8": _BENCH, "waterworks": _WATERWORKS, "boiler": _BOILER}
    )

    def __post_init__(self) -> None:
        dice = random.Random(f"{self.seed}/village")
        # half of the lives begin some minutes before dusk (16:50 UTC), the others in the morning
        dusk = MORNING_MS + (8 * 60 + 50) * MINUTE_MS
        self.start_ms = dusk - dice.randrange(5, 55) * MINUTE_MS if dice.random() < 0.5 else MORNING_MS
        tank = Tank(level=dice.uniform(30, 90), gain=dice.uniform(0.05, 0.13), draw=dice.uniform(0.01, 0.04))
        heater = Heater(room=dice.uniform(10, 20), outdoors=dice.uniform(-6, 10), power=dice.uniform(0.2, 0.6))
        processes = {"m": None, "w": tank, "h": heater}
        self.slaves = {
            name: Slave(self.now, self.later, random.Random(f"{self.seed}/plant/{name}"), name, unit, process)
            for unit, (name, process) in enumerate(processes.items(), 1)
        }
        self.hosts, self.ports = {"slave": self.slaves["m"].connect}, {}
        buses: dict[str, Any] = {"plant": {"type": "modbus_tcp", "host": "slave", "timeout": "1s"}}
        devices: dict[str, Any] = {
            "m": {"bus": "plant", "unit_id": 1, "profile": "bench8", "poll": dice.choice(POLLS["m"])}
        }
        for name, profile in (("w", "waterworks"), ("h", "boiler")):
            slave, bus = self.slaves[name], f"line-{name}"
            poll = dice.choice(POLLS["line"])
            devices[name] = {"bus": bus, "unit_id": slave.unit, "profile": profile, "poll": poll}
            buses[bus] = self._wire(name, slave, dice)
        self.site = {
            "version": 1,
            "site": {
                "id": "v", "name": "V", "latitude": LATITUDE, "longitude": LONGITUDE, "timezone": "Europe/Paris",
            },
            "clock": {"trust": "auto"},
            "buses": buses,
            "devices": devices,
            "signals": {
                "tank-level": _current("w.level", 0, 100, "%"),
                "well-water": {"from": "w.pulses", "kind": "counter", "unit": "L", "per_pulse": 10, "rollover": 65_536},
                "classroom": _current("h.room", 0, 40, "degC"),
                "flow-temp": _current("h.flow", 0, 120, "degC"),
                "air-temp": _current("h.outdoors", -20, 40, "degC"),
            },
            "actuators": _ACTUATORS,
            "lighting": {
                "circuits": {
                    "main-street": {
                        "actuator": "street", "switch_on": {"event": "civil_dusk"},
                        "switch_off": {"event": "civil_dawn"},
                    }
                }
            },
            "water": {
                "tanks": {
                    "reservoir": {
                        "level": "tank-level", "pump": "well", "start": "40 %", "stop": "85 %", "low": "10 %",
                        "high": "95 %",
                    }
                }
            },
            "heating": {
                "zones": {
                    "school": {
                        "sensor": "classroom", "outdoor": "air-temp",
                        "control": {"type": "hysteresis", "band": "0.3 K"},
                        "heat_curve": {"signal": "flow-temp", "points": [[-10, 70], [15, 50]], "max_flow": 75},
                        "plant": {"burner": "burner", "pump": "pump", "pump_overrun": "3min"},
                        "setpoints": {"comfort": 19, "reduced": 16, "frost": 8}, "week": {"default": "comfort"},
                    }
                }
            },
            "uplink": {"url": "mqtt://broker", "insecure": True, "client_id": "v"},
        }  # fmt: skip

        radio = random.Random(f"{self.seed}/radio")
        if self.furnished and radio.random() < 0.5:
            self._radio(radio)
        pins = random.Random(f"{self.seed}/pins")
        if self.furnished and pins.random() < 0.5:
            self._pins(pins)
        if random.Random(f"{self.seed}/square").random() < 0.5:
            self._square()
        if random.Random(f"{self.seed}/dry").random() < 0.5:
            self.site["water"]["tanks"]["reservoir"]["dry_run"] = {
                "flow": "well-water", "grace": "15s", "no_flow": "60s", "latch_after": 3,
            }  # fmt: skip
        if self.is_ruled:
            self._rules()
        if self.air is not None:  # a node's point is no actuator's
            allowed = [*self.site["actuators"], "valve.position", "alarm.*", "*.latch"]
            self.site["uplink"]["commands"] = {"allow": allowed}

    @property
    def is_ruled(self) -> bool:
        return self.seed >= RULED

    def _rules(self) -> None:
        """An interlock that stops the well at 70 % and lets it go on at 50 %, and alarms that come and go with it."""
        self.site["rules"] = {
            "high": {
                "if": {"point": "tank-level", "above": 70, "hysteresis": 20},
                "lock": {"actuator": "well", "value": "off"},
            }
        }
        self.site["alarms"] = {
            "above-half": {"point": "tank-level", "above": 55, "hysteresis": 2, "for": "1min"},
            "well-runs": {"actuator": "well", "is": "on", "for": "4min"},
            "rises": {"point": "tank-level", "rises": 10, "within": "10min", "while": {"actuator": "well", "is": "on"}},
            "no-rise": {"point": "tank-level", "still": 2, "for": "2min"},
            "any": {"any": [{"point": "classroom", "above": 18}, {"point": "tank-level", "below": 45}], "for": "30s"},
        }  # fmt: skip

    def _square(self) -> None:
        """A second circuit, whose contactor must not go on with the other one's."""
        self.profiles["bench8"] = _BENCH + "  relay3: {register: coil, address: 2, writable: true}\n"
        self.site["actuators"] = self.site["actuators"] | {
            "square": {
                "output": "m.relay3", "safe_state": "hold", "boot_state": "recompute", "min_on": "1min",
                "max_starts_per_hour": 6,
            }
        }  # fmt: skip
        self.site["lighting"]["circuits"]["square"] = {
            "actuator": "square", "switch_on": {"event": "civil_dusk"}, "switch_off": {"event": "civil_dawn"},
        }  # fmt: skip

    def _pins(self, dice: random.Random) -> None:
        """A fountain's valve, and the meter behind it."""
        self.board = Board(self.now, self.later, dice)
        self.site["buses"]["gpio"] = {"type": "gpio"}
        self.site["signals"]["fountain-ct"] = {
            "from": "gpio.17", "kind": "counter", "unit": "L", "per_pulse": 10, "debounce": "20ms",
        }  # fmt: skip
        self.site["actuators"] = self.site["actuators"] | {
            "fountain": {
                "output": "gpio.22", "feedback": "gpio.23", "safe_state": "off", "boot_state": "off", "min_off": "20s",
                "max_on": "10min",
            }
        }  # fmt: skip

    def _radio(self, dice: random.Random) -> None:
        """A gateway, two nodes that join, one of them a valve, and one with keys that were written into it."""
        self.air = air = Air(self.now, self.later, dice)
        Gateway(air, self.datagrams, dice, _GATEWAY)
        always = dice.random() < 0.5
        self.profiles |= {"sensor": _SENSOR, "valve": _VALVE % ("C" if always else "A")}
        self.site["buses"]["air"] = {"type": "lora_gwmp", "listen": "127.0.0.1:1700", "gateways": [_GATEWAY.hex()]}
        for number, name in enumerate(("room", "valve")):
            key, eui = dice.randbytes(16), (_EUI + number).to_bytes(8, "big")
            self.keys[f"{name}.key"] = key
            self.site["devices"][name] = {
                "bus": "air", "dev_eui": eui.hex(), "join_eui": _JOIN_EUI.hex(), "app_key": {"file": f"{name}.key"},
                "profile": "valve" if name == "valve" else "sensor",
            }  # fmt: skip
            Node(
                air, dice, name, dice.uniform(150, 400), dice.choice((0.0, 0.5)), eui=eui, join_eui=_JOIN_EUI,
                app_key=key, always=always and name == "valve", adr=name == "room",
            )  # fmt: skip
        address, network, application = dice.getrandbits(25), dice.randbytes(16), dice.randbytes(16)
        self.keys |= {"network.key": network, "application.key": application}
        self.site["devices"]["meter"] = {
            "bus": "air", "dev_addr": f"{address:08x}", "nwk_s_key": {"file": "network.key"},
            "app_s_key": {"file": "application.key"}, "profile": "sensor",
        }  # fmt: skip
        session = Session(address, network, application)
        Node(air, dice, "meter", dice.uniform(200, 500), dice.choice((0.0, 0.3)), session=session)

    def _wire(self, name: str, slave: Slave, dice: random.Random) -> dict[str, Any]:
        kind = dice.choice(("modbus_tcp", "modbus_rtu_over_tcp", "modbus_rtu"))
        if kind == "modbus_rtu":
            port = f"/dev/serial/by-id/usb-simulated-{name}"
            self.ports[port] = partial(slave.connect_line, in_order=True)
            return {"type": kind, "port": port, "baudrate": 9600, "timeout": "500ms"}
        if kind == "modbus_rtu_over_tcp":
            self.hosts[f"server-{name}"] = slave.connect_line
            return {"type": kind, "host": f"server-{name}", "port": 4001, "timeout": "1s"}
        self.hosts[f"server-{name}"] = slave.connect
        return {"type": kind, "host": f"server-{name}", "timeout": "1s"}

    def write(self, folder: Path) -> None:
        """Its site file, and what that refers to."""
        (folder / "profiles").mkdir()
        for name, text in self.profiles.items():
            (folder / "profiles" / f"{name}.yaml").write_text(text)
        for name, key in self.keys.items():
            (folder / name).write_text(key.hex())
            (folder / name).chmod(0o600)
        (folder / "site.yaml").write_text(json.dumps(self.site))

    def at(self, host: str) -> Slave:
        """What hangs on this host, or this port."""
        return self.slaves[{"slave": "m"}.get(host, host.rpartition("-")[2])]

    def edited(self, dice: random.Random) -> str:
        """The site file as a technician saves it: another poll, or rubbish, or no lamp."""
        document = json.loads(json.dumps(self.site))
        how = dice.random()
        if how < 0.2:
            return "version: 1\nsite: ["
        document["devices"]["m"]["poll"] = dice.choice(EDITED)
        if how < 0.4:
            del document["actuators"]["lamp"]
            if self.air is not None:
                document["uplink"]["commands"]["allow"].remove("lamp")
        return json.dumps(document)


def _current(point: str, low: float, high: float, unit: str) -> dict[str, Any]:
    return {"from": point, "signal": "4-20mA", "scale": [low, high], "unit": unit, "stale_after": "60s"}
