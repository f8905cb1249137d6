"""A pattern or a YAML file that would go on for ever: `check` says where it is, and the agent goes on."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from agent.clock import SystemClock
from agent.lib.pattern import Pattern, TooSlow, slow_line
from agent.site.loader import check
from drivers.api import BusSpec
from drivers.lora.line import LoraLine

SITE = """\
site: {{id: v, name: V, timezone: Europe/Paris, latitude: 47.4, longitude: 4.7}}
buses:
  air: {{type: lora_line, port: /dev/serial/by-id/x, pattern: '{}'}}
"""
SLOW = [
    "^(?P<data>([0-9A-F]+)+)$",
    "LORA,(?P<data>([0-9A-F]|[0-9][0-9])+);",
    "(?P<data>(?:[0-9A-F]{2},?)*(?:[0-9A-F]{2},?)*(?:[0-9A-F]{2},?)*)#",
    "^(?P<rssi>-?[0-9]+),(?P<data>([0-9a-f][0-9a-f]?)+)$",
    "(?P<data>(x+x+)+y)",
    "(?i)^(?P<data>(.*)*)=",
]
GOOD = [
    "^\\+RX,(?P<rssi>-?[0-9]+),(?P<snr>-?[0-9.]+),(?P<data>[0-9A-Fa-f]+)$",
    "RX (?P<node>[0-9A-F]{2}) (?P<data>(?:[0-9A-F]{2} ?)+)",
    "(?P<data>(?:0x[0-9A-F]{2}[, ]*)+)",
    "^.*data=(?P<data>[0-9a-f]+).*rssi=(?P<rssi>-?[0-9]+).*$",
    "RSSI:(?P<rssi>-\\d+)\\s+SNR:(?P<snr>-?\\d+)\\s+(?P<data>\\w+)",
]


@pytest.mark.parametrize("pattern", SLOW)
def test_check_finds_a_pattern_that_backtracks(pattern, tmp_path):
    (tmp_path / "site.yaml").write_text(SITE.format(pattern))
    done = subprocess.run(
        [sys.executable, "-m", "agent", "check", "site.yaml"], cwd=tmp_path, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "site.yaml:3:62: error: " in done.stdout and "takes too long for a line such as" in done.stdout, done.stdout


@pytest.mark.parametrize("pattern", GOOD)
def test_a_usual_pattern_is_fine(pattern, tmp_path):
    (tmp_path / "site.yaml").write_text(SITE.format(pattern))
    assert not [problem for problem in check(tmp_path / "site.yaml") if problem.severity == "error"]
    assert slow_line(pattern) is None


def test_the_agent_goes_on_when_a_line_takes_too_long(caplog):
    spec = BusSpec("air", "lora_line", {"port": "/dev/x", "pattern": SLOW[0]}, [])
    bus = LoraLine(spec, SystemClock("always"), SimpleNamespace(get=lambda key: None, put=lambda *_: None))
    bus._take("A" * 200 + "!")
    assert "pattern too slow bus=air" in caplog.text and bus._counts["garbage"] == 1
    for _ in range(1000):
        bus._take("A" * 200 + "!")  # at once: none is looked at
    assert bus._counts["garbage"] == 1001 and caplog.text.count("pattern too slow") == 1


def test_the_timer_is_gone_when_the_search_is_over():
    pattern = Pattern("a+b")
    assert pattern.search("aaab")
    with pytest.raises(TooSlow):
        Pattern("(a+)+b").search("a" * 100)
    assert sum(index for index in range(3_000_000)) > 0, "no signal comes later"


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k: 1}}\n" for n in range(1, 40))
NESTED = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}, k{n}: *a{n - 1}}}\n" for n in range(1, 60))
WIDE = "b: &b {" + ", ".join(f"k{n}: 1" for n in range(2_000)) + "}\na: {<<: [" + ", ".join(["*b"] * 4_000) + "]}\n"
MANY = "".join(f"unknown{n}: 1\n" for n in range(30_000))
BIG = "x: " + "y" * 20_000_000 + "\n"


TEXTS = {"laughs": LAUGHS, "merges": MERGES, "nested": NESTED, "wide": WIDE, "many": MANY, "big": BIG}


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_check_ends_with_a_message_whatever_the_yaml_repeats(text, tmp_path):
    (tmp_path / "site.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "agent", "check", "site.yaml"], cwd=tmp_path, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and "site.yaml:" in done.stdout and "Traceback" not in done.stderr, done.stderr[-500:]
    assert len(done.stdout) < 100_000
