"""How a whole agent ends when it must, goes on when it can, and what then makes the outputs safe."""

import re
import signal
import time

import pytest

from tests.fakes.gateway import Manager

FASTER = "from agent.core.supervisor import Watchdog; Watchdog.PERIOD = Watchdog.LINE = 0.25"
"""Ten times as often as in the field, so that nobody waits for seconds."""
FAILING_HUB = """
import agent.core.hub
def fail(hub): raise RuntimeError("a bug in the hub")
agent.core.hub.Hub._gone_stale = fail
"""
BUSY = """
import signal
def hang(*_):
    while True: pass
signal.signal(signal.SIGUSR1, hang)
"""


@pytest.mark.slow
def test_a_core_task_that_fails_ends_the_process_with_70(site, slave, link, subscriber, wait_for):
    """What was read until then is delivered by the next start; stop-outputs made the lamp safe in between."""
    site.sabotage = FAILING_HUB
    slave.coils[0] = True
    link.cut()
    site.write().launch()
    assert site.process.wait(20) == 70
    log = site.log.read_text()
    assert "core task failed, the agent ends next=restart by systemd" in log
    assert "a bug in the hub" in log
    assert "safe state" in site.bocage("stop-outputs", check=0).stdout
    assert slave.coils[0] is False
    last = slave.registers[0]
    site.sabotage = ""
    link.mend()
    site.start()
    wait_for(lambda: max(subscriber.values("m.count"), default=0) > last)
    begun = "a reading of the beginning of the failed run"
    wait_for(lambda: min(subscriber.values("m.count")) <= 3, what=begun)
    counts = subscriber.values("m.count")
    assert counts == sorted(counts)


def test_a_site_where_nothing_is_there(site, slave, wait_for):
    """No adapter, no pins, no host, no name for the broker: each is reported bad, and the rest runs."""
    site.document["uplink"]["url"] = "mqtt://no-such-broker.invalid"
    site.document["buses"] |= {
        "line": {"type": "modbus_rtu", "port": "/dev/serial/by-id/usb-none"},
        "away": {"type": "modbus_tcp", "host": "127.0.0.1", "port": 9, "timeout": "300ms"},
        "pins": {"type": "gpio"},
    }
    site.document["devices"] |= {
        "gone": {"bus": "line", "unit_id": 1, "profile": "bench8", "poll": "200ms"},
        "far": {"bus": "away", "unit_id": 1, "profile": "bench8", "poll": "200ms"},
    }
    site.document["actuators"]["bell"] = {"output": "pins.17", "safe_state": "off"}
    site.env["GPIOZERO_PIN_FACTORY"] = "lgpio"  # which finds no chip here
    site.start()
    wait_for(lambda: site.quality("m.fixed") == "good" and site.quality("far.fixed") == "bad")
    assert {site.quality(point) for point in ("gone.fixed", "pins.17")} == {"bad"}
    status = site.status()
    buses = {bus["name"]: (bus["state"], bool(bus["error"])) for bus in status["buses"]}
    assert buses == {"plant": ("up", False)} | dict.fromkeys(("line", "away", "pins"), ("down", True))
    wait_for(lambda: "no-such-broker" in site.log.read_text())
    wait_for(lambda: site.status()["uplink"]["error"])
    assert status["outbox"]["rows"] > 0
    assert site.order("lamp", True)[0] == "verified"
    state, reason = site.order("bell", True)
    assert (state, bool(reason)) == ("failed", True)
    assert slave.coils[0] is True
    assert site.stop()[0] == 0


@pytest.fixture
def manager(site):
    made = Manager(site)
    yield made
    made.close()


@pytest.mark.parametrize("how", ["stopped", "busy"])
def test_an_agent_that_hangs_is_killed_and_its_outputs_are_made_safe(site, slave, manager, wait_for, how):
    site.sabotage = FASTER + BUSY
    site.start()
    for _ in range(3):
        assert "WATCHDOG=1" in manager.hear(10), "it is fed again and again"
    assert "READY=1" in manager.lines
    wait_for(lambda: site.quality("m.fixed") == "good")
    assert site.order("lamp", True)[0] == "verified"
    status = re.compile(r"STATUS=1/1 buses up; uplink \w+; \d+ readings waiting")
    wait_for(lambda: manager.hear(5) and any(status.match(line) for line in manager.lines))
    assert site.process.poll() is None
    site.process.send_signal({"stopped": signal.SIGSTOP, "busy": signal.SIGUSR1}[how])
    began = time.monotonic()
    done = manager.watch(2)
    assert 2 <= time.monotonic() - began < 8
    assert "safe state" in done.stdout
    assert slave.coils[0] is False


def test_the_manager_hears_of_an_orderly_end_and_of_a_dead_bus_that_is_no_hang(site, slave, manager):
    slave.deaf.add(1)
    site.sabotage = FASTER
    site.start()
    for _ in range(12):
        assert "WATCHDOG=1" in manager.hear(10)
    assert site.stop()[0] == 0
    while manager.hear(0.2):
        pass
    assert "STOPPING=1" in manager.lines
