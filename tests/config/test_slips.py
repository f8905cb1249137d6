"""What a technician gets wrong in YAML itself or in small files, and where the message points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.site.loader import check, load

Said = Callable[[str], list[str]]
SITE = 'site: {id: a}\nuplink: {url: "mqtt://h"}\n'
GPIO = SITE + "buses: {gpio: {type: gpio}}\n"
TCP = SITE + "buses: {r: {type: modbus_tcp, host: h}}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a\n", "1:1: error: expected keys with their values, found a list"),
        ("hello", '1:1: error: expected keys with their values, found "hello"'),
        ("site:\n\tid: a\n", "2:1: error: there is a tab here; indent with spaces"),
        (SITE + "buses\n  b: {type: gpio}\n", "4:4: error: a key without its colon; write key: value"),
        (SITE + "buses: {b: {type: gpio}\n", '3:8: error: this "{" is never closed'),
        ("site: {id: 'a}\n", "1:12: error: this quote is never closed"),
        (SITE + "site: {id: b}\n", '3:1: error: duplicate key "site"; it is on line 1 already'),
        (SITE + "---\na: 1\n", '3:1: error: a second document begins here; a site is one document, take the "---" out'),
        (SITE + "device: {}\n", '3:1: error: unknown key "device"; did you mean "devices"?'),
        (SITE + "clock: !x {}\n",
         "3:8: error: tags (!) are not used here; write a text that begins with ! in quotes"),
        ("a: \x07", "1:4: error: there is a control character here; remove it"),
        ("a: " + "[" * 3000, "1:1: error: nested too deeply"),
        (SITE + "buses:\n  b: {port: /dev/x}\n", '4:6: error: "type" is missing'),
        (SITE + "actuators:\n  k: {safe_state: off}\n", '4:6: error: "output" is missing in k'),
        (GPIO + "actuators:\n  k: {outptu: gpio.22}\n", '5:7: error: unknown key "outptu"; did you mean "output"?'),
        (SITE + "buses:\n  b: {typ: gpio}\n", '4:7: error: unknown key "typ"; did you mean "type"?'),
        (SITE + "buses: {b: {type: gpoi}}\ndevices: {d: {bus: b}}\nsignals: {s: {from: d.x}}\n",
         '3:19: error: unknown type "gpoi"; did you mean "gpio"?'),
        (GPIO + "devices: {d: {bus: gpoi}}\nsignals: {s: {from: d.x}}\n",
         '4:20: error: unknown bus "gpoi"; did you mean "gpio"?'),
        (TCP + "Devices: {d: {bus: r, unit_id: 1, profile: relay8_di8}}\nsignals: {s: {from: d.di1}}\n",
         '4:1: error: unknown key "Devices"; did you mean "devices"?'),
        (TCP + "devices: {d: {bus: r, UNITID: 1, profile: relay8_di8}}\nsignals: {s: {from: d.di1}}\n",
         '4:23: error: unknown key "UNITID"; did you mean "unit_id"?'),
        ('site: {id: a}\nuplnk: {url: "mqtt://h"}\n', '2:1: error: unknown key "uplnk"; did you mean "uplink"?'),
        (SITE + "clock:\u00a0{trust: auto}\n",
         "3:7: error: U+00A0 found here, no-break space; write an ordinary space"),
        (SITE + "buses: {b: {type:\u00a0gpio}}\n",
         "3:18: error: U+00A0 found here, no-break space; write an ordinary space"),
        (SITE + "clock:\n  trust: auto\u200b: x\n",
         "4:14: error: U+200B found here, zero width space; write an ordinary space"),
        (SITE + "buses:\n  b:\n    type:\u202fgpio   # a\u00a0b\n    # c\u00a0d\n\n    x: 1\n",
         "5:10: error: U+202F found here, narrow no-break space; write an ordinary space"),
        (SITE + 'clock: {trust: "a\u00a0b"}\nbuses\n  b: {type: gpio}\n',
         "5:4: error: a key without its colon; write key: value"),
        (SITE + 'clock: {trust: "a\\qb"}\n',
         """3:18: error: a \\ in double quotes begins an escape, and "\\q" is none; write '...' in single quotes"""),
        (SITE + 'clock: {trust: "C:\\users"}\n', "3:19: error: a \\ in double quotes begins an escape, "
         "and this one is not whole; write '...' in single quotes"),
        (TCP + "devices: {d: {bus: r, unit_id: 1, profile: eastron_sdm120}}\n"
         "signals: {s: {from: d.energy_import, kind: counter, unit: L, per_pulse: 10}}\n",
         "5:59: error: d.energy_import is an energy, in kWh: no factor makes L of it"),
        ('site: {id: a}\nuplink: {url: "mqtt://h", commands: {allow: [d.relay1, "d.r*", d.relay9]}}\n'
         "buses: {r: {type: modbus_tcp, host: h}}\ndevices: {d: {bus: r, unit_id: 1, profile: relay8_di8}}\n",
         '2:64: error: d has no point "relay9" (profile relay8_di8); did you mean "relay8"?'),
        ('site: {id: a}\nuplink: {url: "mqtt://h", commands: {allow: [d.di1]}}\n'
         "buses: {r: {type: modbus_tcp, host: h}}\ndevices: {d: {bus: r, unit_id: 1, profile: relay8_di8}}\n",
         "2:46: error: d.di1 is read only: nothing can be commanded there"),
        (SITE + "buses: {t: {type: linky_tic, port: /dev/serial/by-id/usb-TIC}}\n",
         '3:19: error: "linky_tic" has no driver yet; take this bus and its devices out until a version has one'),
        (SITE + "buses: {t: {type: lora_ebyte, port: /dev/serial/by-id/usb-E, frequency: 868.1 MHz}}\n",
         "3:19: warning: lora_ebyte is not driven yet: nothing is read or written on t, the rest of the site runs"),
        (GPIO + "signals: {s: {from: gpio.17, kind: counter, unit: L, max_rate: 2.5 m³/h}}\n",
         '4:64: error: unknown unit "m³/h" in "2.5 m³/h"; write 2.5 m3/h'),
        ("site: {id: a, latitude: 45,7, longitude: 5}\nuplink: {url: mqtt://h}\n",
         '1:28: error: the comma makes a key of "7"; write the decimals after a point'),
        (GPIO + "actuators:\n  a:{output: gpio.22, fail: normally_closed}\n",
         '5:27: error: unexpected ":"; before it a key lacks its colon (or the space after it), a line is indented '
         'otherwise, or a text with ": " in it lacks its quotes'),
        (GPIO + "signals: {m: {from: gpio.17, kind: counter, unit: L}}\nactuators: {v: {output: gpio.22}}\n"
         "water: {points: {f: {meter: m, valve: gpio.22}}}\n",
         '6:39: error: unknown actuator "gpio.22"; did you mean "v"?'),
        (GPIO + "signals: {m: {from: gpio.17, kind: counter, unit: L}}\nactuators: {v: {output: gpio.22}}\n"
         "water: {points: {f: {meter: m, valve: v, frost: {signal: m}}}}\n",
         "6:58: warning: m is in L, and what is wanted here is in degC"),
        ("version: 2\n" + SITE, "1:10: error: expected 1, found 2"),
        ('site: {id: a}\n', '1:1: warning: no "uplink": readings stay on the gateway'),
        (SITE.split("\n", 1)[1], '1:1: error: "site" is missing'),
        (TCP + "devices: {d: {bus: r, unit_id: 1, profile: relay8_di8, poll: }}",
         '4:56: error: there is no value after "poll:"; write a value, or remove the key'),
        (TCP + "devices: {d: {bus: r, profile: relay8_di8}}",
         '4:14: error: "unit_id" is missing in d (bus r is modbus_tcp)'),
        (TCP + "devices: {d: {bus: r, unit_id: 300, profile: relay8_di8}}",
         "4:32: error: 300 is too much; write at most 255"),
        (TCP + "devices: {d: {bus: r, unit_id: 1, profile: milesight_em300_th}}",
         "4:44: error: profile milesight_em300_th is for a LoRa node, and bus r is modbus_tcp"),
        ('site: {id: a}\nuplink: {url: "mqtt://user:hunter2@h"}\n',
         "2:15: error: a secret in the file; take it out of the address, and write username and password keys"),
        ('site: {id: a}\nuplink: {url: "mqtt://h", username: u, password: {env: P}}\n',
         '2:15: error: mqtt:// sends the password unencrypted to h; write mqtts://, or "insecure: true" '
         "to send it all the same"),
        ('site: {id: a}\nuplink: {url: "mqtts://h", fallback: ["mqtts://i", "mqtt://10.0.0.7"], username: u, '
         "password: {env: P}}\n",
         "2:52: error: mqtt:// sends the password unencrypted to 10.0.0.7; write mqtts://, or "
         '"insecure: true" to send it all the same'),
        (SITE + 'buses: {l: {type: lora_chirpstack, url: "mqtt://h", application: a, username: u, password: {env: P}}}',
         '3:41: error: mqtt:// sends the password unencrypted to h; write mqtts://, or "insecure: true" '
         "to send it all the same"),
        (SITE + 'buses: {l: {type: lora_chirpstack, url: "mqtts://h", application: a, password: {env: P}}}',
         '3:80: error: a password without a user: "username" is missing in l'),
        (SITE + 'buses: {l: {type: lora_chirpstack, url: "mqtts://h", application: a, cert: /c.pem}}',
         "3:76: error: cert and key go together"),
        ('site: {id: a}\nuplink: {url: "mqtt://h", max_message: 20 kB}\n',
         "2:40: error: 20 kB is too much; write at most 16 kB"),
        (GPIO + "signals: {s: {from: gpio.44}}",
         '4:21: error: "44" is not a pin; write its BCM number, gpio.0 to gpio.27'),
        (GPIO + "actuators: {a: {output: gpio.22, active: low}}",
         "4:42: error: pin 22 is low at reset, which would switch an active-low relay on; "
         "use an active-high relay, or override: true"),
        (GPIO + "actuators: {a: {output: gpio.15}}",
         "4:25: error: pin 15 is the serial console at boot and would move the relay; "
         "use 9-13 or 16-27, or override: true"),
        (SITE + 'buses: {"a b": {type: gpio}}',
         '3:9: error: "a b" is not a name; use letters without accents, digits, - and _, at most 64'),
        (SITE + "buses: {x: &a {type: modbus_tcp, host: h}, y: *a}",
         "3:40: error: h:502 is already used by bus x (line 3)"),
        (SITE + "buses: {x: {type: modbus_tcp, host: localhost}, y: {type: modbus_tcp, host: 127.0.0.1}}",
         "3:77: error: 127.0.0.1:502 is already used by bus x (line 3)"),
        (GPIO + "signals: {a: {from: gpio.17}}\nactuators: {a: {output: gpio.22}}",
         '5:13: error: "a" is already the name of a signal (line 4)'),
        (TCP + "devices: {d: {bus: r, unit_id: 1, profile: relay8_di8, points: {relay9: {poll: 1s}}}}",
         '4:65: error: profile relay8_di8 has no point "relay9"; did you mean "relay8"?'),
        (SITE + "buses: {x: {type: modbus_tcp, host: 10.0.0.1:502}}",
         '3:37: error: the port has a key of its own; write "host: 10.0.0.1" and "port: 502"'),
        (SITE + "buses: {x: {type: modbus_tcp, host: 10.0.0.256}}",
         '3:37: error: "10.0.0.256" is not an address; write four numbers from 0 to 255, such as 192.168.1.20'),
        ('site: {id: a}\nuplink: {url: "mqtts://h:1883"}\n',
         "2:15: warning: mqtts:// is with TLS, and 1883 is the port without; write mqtts://h:8883"),
        ('site: {id: a}\nuplink: {url: "mqtt://h:8883"}\n',
         "2:15: warning: mqtt:// is without TLS, and 8883 is the port with TLS; write mqtts://h:8883"),
        ('site: {id: a}\nuplink: {url: "mqtts:// h"}\n',
         "2:15: error: there is a space in the address; remove it"),
        ("site: {id: a, latitude: 5.04, longitude: 47.32}\nuplink: {url: mqtt://h}\n",
         "1:25: error: latitude and longitude are the wrong way round for Europe/Paris; "
         "write latitude: 47.32, longitude: 5.04"),
        ("site: {id: a, timezone: Indian/Reunion, latitude: 55.5, longitude: -21}\nuplink: {url: mqtt://h}\n",
         "1:51: error: latitude and longitude are the wrong way round for Indian/Reunion; "
         "write latitude: -21, longitude: 55.5"),
        (GPIO + "signals: {s: {from: gpio.17, unit: litres}}",
         '4:36: warning: unknown unit "litres"; did you mean "L"?'),
        (GPIO + "signals: {s: {from: gpio.17, unit: candles}}",
         '4:36: warning: unknown unit "candles"; write one such as degC, kWh, m3 or %'),
        (SITE + "clock: {trust: auto}\rbuses: {}\n",
         "3:21: error: a carriage return (CR) without a line feed is here, which ends the line for YAML, and not "
         "for most editors; end lines with LF or CRLF"),
        ("site: {id: a, name: \u201cLavoir\u201d}\nuplink: {url: mqtt://h}\n",
         '1:21: error: \u201c\u201d are no quotes in YAML; write "Lavoir"'),
        (GPIO + "signals: {m: {from: gpio.17, kind: counter, unit: L}}\nactuators: {v: {output: gpio.22}}\n"
         'water: {points: {f: {meter: m, valve: v, opening_hours: {"lun,mer": ["07:00-21:00"]}}}}\n',
         '6:58: error: "lun,mer" is no day; write "mon,wed"'),
        (GPIO + "signals: {m: {from: gpio.17}}\n"
         'actuators: {v: {output: gpio.22, exercise: {every: 7d, at: "mer 3h10", run: 1min}}}\n',
         '5:60: error: "mer 3h10" is not a day and a time; write "wed 03:10" '
         "(days: mon, tue, wed, thu, fri, sat or sun)"),
    ],
)  # fmt: skip
def test_one_slip_one_line(said: Said, text: str, line: str) -> None:
    assert said(text) == [line]


@pytest.mark.parametrize(
    "text",
    [
        SITE.replace('mqtt://h"', 'mqtt://localhost", username: u, password: {env: P}'),
        SITE.replace('mqtt://h"', 'mqtt://[::1]:1884", username: u, password: {env: P}'),
        SITE.replace('mqtt://h"', 'mqtt://h", insecure: true, fallback: ["mqtt://i"], username: u, password: {env: P}'),
        SITE + "devices:\nsignals:\nlighting:\nclock:\n",
        SITE.replace("\n", "\r"),
        "site: {id: a, latitude: 47.3, longitude: 5, name: l\u2019\u00e9glise \u00ab du haut \u00bb}\nuplink: {url: mqtts://h:18830}",
        "site: {id: a, latitude: -21.1, longitude: 55.5}\nuplink: {url: mqtt://h}",
        TCP.replace("host: h", "host: \"fe80::1%eth0\""),
        "%YAML 1.1\n---\n" + SITE,
        "\ufeff" + SITE,
        SITE.replace("\n", "\r\n"),
        TCP + "devices:\n  d: &d {bus: r, unit_id: 1, profile: relay8_di8}\n  e: {<<: *d, unit_id: 2}\n",
        GPIO + "actuators: {a: {output: gpio.5, override: true}}",
        SITE + "buses: {p: {type: modbus_rtu, port: /dev/pts/3, parity: N}}",
    ],
)
def test_fine(said: Said, text: str) -> None:
    assert said(text) == []


def test_a_profile_that_is_there_and_is_none(said: Said, tmp_path: Path) -> None:
    own = tmp_path / "profiles"
    (own / "box.yaml").mkdir(parents=True)
    (own / "short.yml").touch()
    for name in ("away", "relay8_di8"):
        (own / f"{name}.yaml").symlink_to("nowhere.yaml")

    def lines(name: str) -> list[str]:
        text = TCP + f"devices: {{d: {{bus: r, unit_id: 1, profile: {name}}}}}"
        return [line.removeprefix(f"{own}/") for line in said(text)]

    assert lines("away") == ['4:44: error: profile "away" has errors of its own',
                             "away.yaml:1:1: error: this is a link to nowhere.yaml, which is not there"]  # fmt: skip
    assert lines("box") == ['4:44: error: profile "box" has errors of its own',
                            "box.yaml:1:1: error: this is not a file"]  # fmt: skip
    assert lines("awya") == ['4:44: error: unknown profile "awya"; write profiles/awya.yaml beside this file']
    assert lines("short") == ['4:44: error: unknown profile "short"; call profiles/short.yml short.yaml']
    assert lines("relay8_di8") == ["relay8_di8.yaml:1:1: warning: this is a link to nowhere.yaml, which is not there; "
                                   "the package's profile of this name is used"]  # fmt: skip


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_file_says_what_fills_it(said: Said, tmp_path: Path, text: str) -> None:
    init = f"bocage init {tmp_path / 'site.yaml'} --force"
    assert said(text) == [f"1:1: error: the file is empty; this writes one to start from: {init}"]


def test_not_utf8_and_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(b"site:\n  id: \xe9t\xe9\n")
    (problem,) = check(path)
    assert (problem.line, problem.column) == (2, 7)
    assert "UTF-8" in problem.message
    assert "No such file" in check(tmp_path / "none.yaml")[0].message
    assert "directory" in check(tmp_path)[0].message


def test_load_lists_everything(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE + "device: {}\nbuses: {b: {type: foo}}\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert len(caught.value.problems) == 2
    assert caught.value.problems[0].startswith(f"{path}:3:1: error: ")


def test_aliases_that_repeat_each_other_end_early(said: Said) -> None:
    text = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for one, two in zip("abcdefgh", "bcdefghi", strict=True):
        text += f"{two}: &{two} [{', '.join([f'*{one}'] * 10)}]\n"
    assert any("too many values" in line for line in said(text))
