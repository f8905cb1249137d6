"""A whole agent as a process of its own, with a real broker, a Modbus TCP slave and a subscriber that counts by key."""

from pathlib import Path

import pytest

from tests.fakes import disk, modbus_slave, mosquitto
from tests.fakes.gateway import Link, Mosquitto, Site, Slave, Subscriber, makes
from tests.fakes.waiting import wait_for


@pytest.fixture
def slave():
    made = Slave()
    yield made
    made.close()


@pytest.fixture
def broker(tmp_path):
    made = Mosquitto(tmp_path).start()
    yield made
    made.stop()


@pytest.fixture
def make_broker(tmp_path):
    """A broker with access rules of its own, and subscribers that it lets in."""
    with makes(lambda *lines: Mosquitto(tmp_path, *lines).start(), Mosquitto.stop) as make:
        yield make


@pytest.fixture
def make_subscriber():
    with makes(Subscriber, Subscriber.close) as make:
        yield make


@pytest.fixture
def subscriber(broker, make_subscriber):
    return make_subscriber(broker.port)


@pytest.fixture
def link(broker):
    made = Link(broker.port)
    yield made
    made.close()


@pytest.fixture
def site(tmp_path, slave, link):
    folder = Path(tmp_path) / "site"
    folder.mkdir(exist_ok=True)
    made = Site(folder, slave, link.port)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


@pytest.fixture
def certificates():
    """A CA and, for each name, a certificate with it as CN, in a folder."""
    return mosquitto.certificates


@pytest.fixture
def documented_acl():
    return mosquitto.documented_acl()


@pytest.fixture
def line(tmp_path):
    """An RS-485 line on a pseudo-terminal behind a stable name: units 1 and 2, no two registers with one value."""
    units = {unit: modbus_slave.Unit(holding={n: unit * 1000 + n for n in range(60)}) for unit in (1, 2)}
    made = modbus_slave.RtuSlave(tmp_path / "ttyRS485", units)
    yield made
    made.end()
    assert made.failure is None


@pytest.fixture
def small_disk(tmp_path):
    """The site's state folder as a disk of 800 kB, which can be full or read-only."""
    with disk.small_disk(tmp_path / "site" / "state", "800k") as folder:
        yield folder


@pytest.fixture(name="wait_for")
def _wait_for():
    return wait_for
