"""A broker, a ChirpStack that speaks on it, and a whole agent with a bus of that kind."""


import pytest

from tests.fakes import chirpstack
from tests.fakes.gateway import Mosquitto, Site, Slave, Subscriber, wait_for


@pytest.fixture(name="wait_for")
def _wait_for():
    return wait_for


@pytest.fixture
def make_broker(tmp_path):
    made = []

    def make(*lines):
        made.append(Mosquitto(tmp_path, *lines))
        return made[-1].start()

    yield make
    for broker in made:
        broker.stop()


@pytest.fixture
def broker(make_broker):
    return make_broker()


@pytest.fixture
def make_server():
    """A ChirpStack on the broker at this port."""
    made = []

    def make(port, **login):
        made.append(chirpstack.ChirpStack(port, **login))
        wait_for(made[-1].client.is_connected, what="ChirpStack's connection")
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def server(broker, make_server):
    return make_server(broker.port)


@pytest.fixture
def make_subscriber():
    made = []

    def make(port):
        made.append(Subscriber(port))
        return made[-1]

    yield make
    for subscriber in made:
        subscriber.close()


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
