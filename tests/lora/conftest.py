"""A broker, a ChirpStack that speaks on it, and a whole agent with a bus of that kind."""

import pytest

from tests.fakes import chirpstack
from tests.fakes.gateway import Mosquitto, Site, Slave, Subscriber, makes
from tests.fakes.waiting import wait_for


@pytest.fixture(name="wait_for")
def _wait_for():
    return wait_for


@pytest.fixture
def make_broker(tmp_path):
    with makes(lambda *lines: Mosquitto(tmp_path, *lines).start(), Mosquitto.stop) as make:
        yield make


@pytest.fixture
def broker(make_broker):
    return make_broker()


@pytest.fixture
def make_server():
    """A ChirpStack on the broker at this port."""

    def connected(port, **login):
        server = chirpstack.ChirpStack(port, **login)
        wait_for(server.client.is_connected, what="ChirpStack's connection")
        return server

    with makes(connected, chirpstack.ChirpStack.close) as make:
        yield make


@pytest.fixture
def server(broker, make_server):
    return make_server(broker.port)


@pytest.fixture
def make_subscriber():
    with makes(Subscriber, Subscriber.close) as make:
        yield make


@pytest.fixture
def up_event():
    return chirpstack.up


@pytest.fixture
def site(tmp_path, broker):
    """A site with a Modbus module, a ChirpStack, and no uplink."""
    slave = Slave()
    folder = tmp_path / "site"
    folder.mkdir()
    made = Site(folder, slave, broker.port)
    del made.document["uplink"]
    made.document["buses"]["lora-1"] = {
        "type": "lora_chirpstack", "url": f"mqtt://127.0.0.1:{broker.port}", "application": chirpstack.APPLICATION,
    }  # fmt: skip
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()
    slave.close()
