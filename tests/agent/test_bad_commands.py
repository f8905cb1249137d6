"""Whatever comes in on cmd/ of a whole agent: refused with a reason, never carried out twice, and polling goes on."""

import itertools
import json
import os
import socket
import statistics
import time

import pytest


@pytest.fixture
def started(site, subscriber, wait_for):
    site.document["devices"]["m"]["poll"] = "100ms"
    site.document["actuators"]["dim"] = {"output": "m.dimmer", "kind": "level"}
    site.allow("m.relay2")
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    return site


DEEP = b"[" * 30_000 + b"]" * 30_000  # Python 3.13 reads 5,000 without a word
REFUSED = {
    "json": (b"not json", "not JSON"),
    "utf8": (b'{"id": "\xff\xfe"}', "not UTF-8 (byte 8)"),
    "huge": (b'{"id": "huge", "by": "' + b"x" * 1_000_000 + b'"}', "longer than 64 kB"),
    "deep": (DEEP, "not JSON"),
    "list": (b"[1, 2]", "not a JSON object"),
    "other": (b'{"id": "another", "point": "lamp", "value": 1}', 'id is "another", but the topic says "other"'),
    "empty": (b'{"id": "empty", "point": "lamp"}', "value is missing"),
    "typo": (b'{"id": "typo", "point": "lamp", "value": 1, "tll_ms": 5}', "did you mean ttl_ms?"),
    "nan": (b'{"id": "nan", "point": "dim", "value": NaN}', "NaN is not JSON"),
    "number": (b'{"id": "number", "point": "dim", "value": 1e400}', "value must be a number"),
    "digits": (b'{"id": "digits", "point": "dim", "value": 1' + b"0" * 400 + b"}", "value must be a number"),
    "late": (b'{"id": "late", "point": "lamp", "value": 1, "ttl_ms": 1' + b"0" * 400 + b"}", "ttl_ms must be a whole"),
    "text": (b'{"id": "text", "point": "lamp", "value": "sideways"}', "value must be a number, true"),
    "type": (b'{"id": "type", "point": "lamp", "value": 7}', "lamp takes on or off, not 7"),
    "level": (b'{"id": "level", "point": "dim", "value": true}', "dim takes a number"),
    "range": (b'{"id": "range", "point": "dim", "value": 101}', "101 is out of range: dim takes 0 to 100"),
    "where": (b'{"id": "where", "point": "lmap", "value": 1}', 'unknown point "lmap"; did you mean "lamp"?'),
    "read": (b'{"id": "read", "point": "m.fixed", "value": 1}', "m.fixed is read only"),
    "hold": (b'{"id": "hold", "point": "lamp", "value": 1, "hold_ms": 90000000}', "at most 24 h"),
}


def test_what_is_no_command_or_asks_for_too_much_is_refused_with_a_reason(started, slave, subscriber, wait_for):
    for name, (payload, _) in REFUSED.items():
        subscriber.send(name, payload)
    wait_for(lambda: all(subscriber.results(name) for name in REFUSED), what="a result for each")
    for name, (_, reason) in REFUSED.items():
        (result,) = subscriber.results(name)
        assert (result["state"], reason in result["reason"]) == ("rejected", True), (name, result)
    subscriber.send("bad.id", b'{"id": "bad.id", "point": "lamp", "value": 1}')
    wait_for(lambda: subscriber.events("command_refused", "audit"), what="an event for one that has no id")
    assert slave.writes == [] == subscriber.results("bad.id")
    assert started.process.poll() is None


def test_expired_retained_and_repeated_commands(started, slave, link, subscriber, wait_for):
    now = round(time.time() * 1000)
    subscriber.send("ttl", point="lamp", value="on", ttl_ms=0)
    subscriber.send("at", point="lamp", value="on", expires_at=now - 1000)
    wait_for(lambda: subscriber.states("ttl") == ["expired"] == subscriber.states("at"))
    assert "too late" in subscriber.results("at")[0]["reason"]

    subscriber.send("once", point="lamp", value="on", ttl_ms=60_000)
    wait_for(lambda: "verified" in subscriber.states("once"))
    started.kill()
    subscriber.send("kept", point="lamp", value="off", retain=True)
    subscriber.send("once", point="lamp", value="off", ttl_ms=60_000)
    started.start()
    wait_for(lambda: subscriber.events("command_retained", "alarm"), what="the alarm of a retained command")
    wait_for(lambda: "rejected" in subscriber.states("kept"))
    wait_for(lambda: "rejected" in subscriber.states("once"))
    assert "the id was used before, for lamp: verified" in subscriber.results("once")[-1]["reason"]
    subscriber.send("once", point="lamp", value="on", ttl_ms=60_000)
    wait_for(lambda: subscriber.states("once").count("verified") == 2, what="what became of it, told again")
    subscriber.send("next", point="m.relay2", value="on", ttl_ms=60_000)
    wait_for(lambda: "verified" in subscriber.states("next"))
    assert slave.writes == [(0, True), (1, True)]


def test_the_sites_own_list_and_a_commands_own_condition(site, slave, subscriber, wait_for):
    site.document["uplink"]["commands"] = {"allow": ["lamp"]}
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    subscriber.send("other", point="m.relay2", value="on", ttl_ms=60_000)
    wait_for(lambda: subscriber.results("other"))
    assert "m.relay2 is not among uplink.commands.allow" in subscriber.results("other")[0]["reason"]
    on_if_off = {"point": "lamp", "value": "on", "ttl_ms": 60_000, "if": {"point": "lamp", "equals": "off"}}
    for name, end in (("first", "verified"), ("second", "rejected")):
        subscriber.send(name, **on_if_off)
        wait_for(lambda name=name, end=end: end in subscriber.states(name))
    assert subscriber.results("second")[0]["reason"] == "lamp is on, and the condition wants off"
    assert site.order("m.relay2", True)[0] == "verified", "the list is for those afar"
    assert slave.writes == [(0, True), (1, True)]


@pytest.mark.slow
def test_two_thousand_commands_at_once(started, slave, subscriber, wait_for):
    """The broker keeps what is beyond the pace. Polling keeps its period, memory its size, the relay its sanity."""

    def periods(seconds):
        seen, began = [(time.monotonic(), slave.registers[0])], time.monotonic()
        while time.monotonic() < began + seconds:
            wait_for(lambda: slave.registers[0] != seen[-1][1], 5, "a poll")
            seen.append((time.monotonic(), slave.registers[0]))
        return [(b[0] - a[0]) / (b[1] - a[1]) for a, b in itertools.pairwise(seen)]

    quiet, rss = statistics.median(periods(2)), started.rss_mb()
    for n in range(2000):
        subscriber.send(f"f{n}", point="m.relay2", value="on" if n % 2 else "off", ttl_ms=60_000)
    wait_for(lambda: subscriber.events("commands_refused", "audit"), what="the record of the flood")
    during = periods(4)
    assert statistics.median(during) < 1.5 * quiet, (quiet, statistics.median(during))
    assert statistics.quantiles(during, n=20)[-1] < 3 * quiet, "nor do single polls wait"
    assert started.rss_mb() < rss + 10
    answered = [name for name, _, _ in list(subscriber.messages) if name.endswith("/result")]
    assert len(set(answered)) < 100, "those that are refused cost no flash"
    assert started.order("lamp", True)[0] == "verified", "the technician has a rate of his own"
    assert len(slave.writes) < 100


def test_while_nobody_knows_the_time(site, subscriber, wait_for):
    site.env["BOCAGE_CLOCK"] = "untrusted"
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    batch = subscriber.on("telemetry")[-1]
    assert (batch["t"], batch["clock"]) == (None, "unsynced")
    assert len(batch["boot"]) == 36
    assert batch["boottime_ms"] == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000, abs=20_000)
    shown = site.ask(do="read", points=["m.fixed"])["points"]["m.fixed"]
    assert (shown["at"], shown["quality"]) == (None, "good"), "an unknown time is the clock's, not the value's"
    assert '"at": null' in site.bocage("read", "m.fixed", "--json", check=0).stdout
    subscriber.send("at", point="lamp", value="on", expires_at=round(time.time() * 1000) + 60_000)
    subscriber.send("ttl", point="lamp", value="on", ttl_ms=60_000)
    wait_for(lambda: "verified" in subscriber.states("ttl"))
    wait_for(lambda: subscriber.results("at"))
    assert "send ttl_ms in place of expires_at" in subscriber.results("at")[0]["reason"]
    assert {result["t"] for result in subscriber.results("ttl")} == {None}
    assert site.status()["clock"] == "unsynced"


@pytest.fixture
def open_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


ASKED = {
    "expected one JSON object": [b"[" * 100_000],
    'expected "points": a list of names': [
        b'{"do": "read", "points": ' + points + b"}" for points in (b"1", b"[1]", b"[[]]", b'"m.fixed"', b'{"m": 1}')
    ],
    'expected "file": the path': [b'{"do": "reload", "file": 1}', b'{"do": "reload", "file": ["x"]}'],
    'expected "bus": the outline of a bus': [
        b'{"do": "try", "bus": {"name": "plant", "type": "modbus_tcp", "options": {}, "devices": [{"name": "m", '
        b'"address": {}, "profile": null, "point_poll": {}, "poll": 1' + b"0" * 400 + b"}]}}"
    ],
}


def test_what_is_asked_amiss_on_the_box_gets_an_answer_and_leaves_no_traceback(open_umask, started):
    with socket.socket(socket.AF_UNIX) as agent:
        agent.settimeout(30)
        agent.connect(str(started.folder / "run" / "agent.sock"))
        answers = agent.makefile("rb")
        for expected, lines in ASKED.items():
            for line in lines:
                agent.sendall(line + b"\n")
                answer = json.loads(answers.readline())
                assert (answer["ok"], expected in answer["error"]) == (False, True), (line[:99], answer)
    assert "Traceback" not in started.log.read_text()
    readable = [path for path in started.folder.glob("state/**/*") if path.stat().st_mode & 0o077]
    assert readable == [], "whatever the umask"
