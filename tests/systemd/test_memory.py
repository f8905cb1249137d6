"""The unit's MemoryMax as a kernel enforces it: what is aimed at the agent stays below, a runaway costs it a start.

Needs root and a memory controller (cgroup v1, or v2 that hands it down); without one this is skipped.
"""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from paho.mqtt import client as mqtt

from tests.fakes.gateway import Mosquitto, Site, Slave
from tests.fakes.waiting import wait_for

pytestmark = pytest.mark.broker

UNIT = Path(__file__).parents[2] / "systemd/bocage.service"
LIMIT = int(re.search(r"^MemoryMax=(\d+)M$", UNIT.read_text(), re.M)[1]) << 20
ROOT = "bocage/v1/test-village"


class Group:
    """A memory cgroup of its own, below ours."""

    def __init__(self):
        places = {}
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if "memory" in controllers.split(","):
                places = {"memory.limit_in_bytes": Path("/sys/fs/cgroup/memory" + own)} | places
            elif not controllers:
                places["memory.max"] = Path("/sys/fs/cgroup" + own)
        self.limit, self.folder = "", None
        for name, above in places.items():
            folder = above / f"bocage-test-{os.getpid()}"
            with contextlib.suppress(OSError):
                folder.mkdir()
                try:
                    (folder / name).write_text(str(LIMIT))
                    (folder / "cgroup.procs").write_text("")
                except OSError:
                    folder.rmdir()
                    continue
                self.limit, self.folder = name, folder
                return
        pytest.skip("no memory cgroup that we may make")

    @property
    def peak(self):
        names = ("memory.max_usage_in_bytes", "memory.peak")
        return next(int((self.folder / name).read_text()) for name in names if (self.folder / name).exists())

    def close(self):
        wait_for(lambda: not (self.folder / "cgroup.procs").read_text(), what="an empty group")
        self.folder.rmdir()


@pytest.fixture
def group():
    made = Group()
    yield made
    made.close()


@pytest.fixture
def site(tmp_path, group):
    slave, broker = Slave(), Mosquitto(tmp_path).start()
    folder = tmp_path / "site"
    folder.mkdir()
    made = Site(folder, slave, broker.port)
    made.document["uplink"]["protocol"] = "3.1.1"  # no Maximum Packet Size: whatever is sent comes
    made.sabotage = f"open({str(group.folder / 'cgroup.procs')!r}, 'w').write('0')"
    made.slave, made.broker = slave, broker
    yield made
    if made.process.poll() is None:
        made.kill()
    broker.stop()
    slave.close()


def told(site):
    """The limit that `health` says, from within the agent's group."""
    program = f"{site.sabotage}\nfrom pathlib import Path; from agent.runtime.health import Health\n" \
              "print(Health(Path('/')).sample()['memory_limit_mb'])"  # fmt: skip
    return float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_huge_and_many_commands_do_not_reach_the_limit(site, group):
    site.start()
    assert told(site) == pytest.approx(LIMIT / 1e6, abs=0.1)
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", site.broker.port)
    client.loop_start()
    wait_for(lambda: site.status()["uplink"]["state"] == "connected", what="the uplink")
    for n in range(3):
        client.publish(f"{ROOT}/cmd/big-{n}", bytes(200_000_000), 1, retain=n == 0).wait_for_publish(60)
    for n in range(5_000):
        client.publish(f"{ROOT}/cmd/flood-{n}", b"x" * 5_000, 1)
    answered, n = [], itertools.count()
    client.subscribe(f"{ROOT}/cmd/+/result", 1)
    client.on_message = lambda *args: answered.append(args[2].payload)

    def heard():
        body = {"id": (name := f"after-{next(n)}"), "point": "lamp", "value": "on", "ttl_ms": 60_000}
        client.publish(f"{ROOT}/cmd/{name}", json.dumps(body), 1).wait_for_publish(10)
        return any(b"verified" in one for one in answered)

    wait_for(heard, 60, "a command that comes behind the flood")
    client.loop_stop()
    assert site.process.poll() is None and group.peak < LIMIT / 2, f"{group.peak / 1e6:.0f} MB"


@pytest.mark.slow
def test_a_runaway_is_killed_and_its_outputs_are_safe_and_it_starts_again(site, group):
    """As the unit has it: Restart=always, ExecStopPost=stop-outputs."""
    leak = "import threading; threading.Timer(4, lambda: [bytearray(b'x' * 1_000_000) for _ in range(10_000)]).start()"
    enter = site.sabotage
    site.sabotage = f"{enter}\n{leak}"
    site.start()
    assert site.order("lamp", True)[0] == "verified" and site.slave.coils[0]
    assert site.process.wait(60) == -signal.SIGKILL, "killed by the kernel, not by itself"
    assert group.peak >= LIMIT * 0.95
    site.sabotage = ""
    site.bocage("stop-outputs", check=0)
    assert not site.slave.coils[0]
    site.sabotage = enter
    site.start()
    wait_for(lambda: site.quality("m.count") == "good", what="a reading")
