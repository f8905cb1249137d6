"""A resolver that never answers, and hosts that send without end, in a whole agent: everything else goes on."""

import contextlib
import socket
import struct
import threading

import pytest

DEAF = """
import socket, threading
_look_up = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if str(host).endswith((".dead", b".dead")):
        threading.Event().wait()
    return _look_up(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


def buses(site):
    return {bus["name"]: bus for bus in site.status()["buses"]}


def test_names_that_nobody_answers_for_delay_nothing(site, slave, wait_for):
    """Twenty hosts and a network server; each attempt would take a thread of the pool that writes to the flash."""
    site.sabotage = DEAF
    for n in range(20):
        kind = ("modbus_tcp", "modbus_rtu_over_tcp")[n % 2]
        site.document["buses"][f"b{n}"] = {"type": kind, "host": f"host{n}.dead", "port": 502, "timeout": "100ms"}
        site.document["devices"][f"d{n}"] = {"bus": f"b{n}", "unit_id": 1, "profile": "bench8", "poll": "200ms"}
    site.document["buses"]["server"] = {"type": "lora_chirpstack", "url": "mqtt://broker.dead", "application": "a"}
    radio = {"type": "lora_gwmp", "listen": "gate.dead:1700", "gateways": ["0102030405060708"]}
    site.document["buses"]["radio"] = radio
    site.document["uplink"]["url"] = "mqtt://uplink.dead"
    site.start()
    said = "the name host0.dead is not found within 0.1 s: the name server does not answer"
    wait_for(lambda: all(said.replace("0.dead", f"{n}.dead") == buses(site)[f"b{n}"]["error"] for n in range(20)))
    for value in (True, False, True):
        assert site.order("lamp", value)[0] == "verified", site.log.read_text()[-2000:]
    assert site.stop()[0] == 0


def test_a_host_whose_name_is_found_late_is_reached(site, slave, wait_for):
    """The answer comes after the attempt was over, and serves the next one."""
    site.sabotage = """
import socket, threading, time
_look_up = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host == "slow.example":
        time.sleep(0.5)
        host = "127.0.0.1"
    return _look_up(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""
    site.document["buses"]["plant"] |= {"host": "slow.example", "timeout": "200ms"}
    site.start()
    wait_for(lambda: site.quality("m.count") == "good", 20, "a reading over a slow name server")


FAILING = """
import socket
_look_up, asked = socket.getaddrinfo, []
def getaddrinfo(host, *rest, **more):
    if host == "later.example":
        asked.append(host)
        host = "127.0.0.1" if len(asked) > 2 else "again.failing"
    if host == "odd.failing":
        raise UnicodeError("label empty or too long")
    if host == "none.failing":
        return []
    if host == "unknown.failing":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if host == "again.failing":
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return _look_up(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""
FAILED = {
    "odd": "odd.failing:502: invalid host name: odd.failing",
    "none": "none.failing:502: the name none.failing has no address",
    "unknown": "unknown.failing:502: Name or service not known",
    "again": "again.failing:502: Temporary failure in name resolution",
}


def test_a_look_up_that_fails_costs_its_own_bus_and_is_tried_again(site, slave, wait_for):
    site.sabotage = FAILING
    for n, name in enumerate(FAILED):
        kind = ("modbus_tcp", "modbus_rtu_over_tcp")[n % 2]
        site.document["buses"][name] = {"type": kind, "host": f"{name}.failing", "port": 502, "timeout": "200ms"}
        site.document["devices"][f"d-{name}"] = {"bus": name, "unit_id": 1, "profile": "bench8", "poll": "200ms"}
    site.document["buses"]["plant"] |= {"host": "later.example"}
    site.document["uplink"]["url"] = "mqtt://odd.failing"
    site.start()
    wait_for(lambda: {name: buses(site)[name]["error"] for name in FAILED} == FAILED, 20, "all reasons")
    wait_for(lambda: site.quality("m.count") == "good", 20, "the name that is found at the third time")
    assert site.order("lamp", True)[0] == "verified"
    assert "driver failed" not in site.log.read_text()
    assert site.stop()[0] == 0


GARBAGE, UNASKED = b"\x00" * 65536, struct.pack(">HHHBBBH", 7, 0, 5, 1, 3, 2, 999) * 6000
ANSWERS = b"\x01\x03\x02\x03\xe7\xf8\xfe" * 9000  # sound frames of a line


class Flood(threading.Thread):
    """Sends the same without end to whoever connects."""

    def __init__(self, what):
        super().__init__(daemon=True)
        self.what, self.connections, self.sent = what, 0, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                with client, contextlib.suppress(OSError):
                    while True:
                        client.sendall(self.what)
                        self.sent += len(self.what)

    def end(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def floods():
    made = [Flood(GARBAGE), Flood(UNASKED), Flood(GARBAGE), Flood(ANSWERS)]
    yield made
    for flood in made:
        flood.end()


def test_hosts_that_send_without_end_cost_a_bounded_share(site, slave, floods, subscriber, wait_for):
    """Each is given up after 64 kB, tried again ever later, and said once; polls and writes go on."""
    kinds = ("modbus_tcp", "modbus_tcp", "modbus_rtu_over_tcp", "modbus_rtu_over_tcp")
    for n, (kind, flood) in enumerate(zip(kinds, floods, strict=True)):
        site.document["buses"][f"b{n}"] = {"type": kind, "host": "127.0.0.1", "port": flood.port, "timeout": "300ms"}
        site.document["devices"][f"d{n}"] = {"bus": f"b{n}", "unit_id": 1, "profile": "bench8", "poll": "200ms"}
    site.start()
    wait_for(lambda: all(flood.connections >= 2 for flood in floods), 20, "second connections")
    before, seen = [flood.connections for flood in floods], len(subscriber.values("m.count"))
    for value in (True, False, True):
        assert site.order("lamp", value)[0] == "verified"
    wait_for(lambda: len(subscriber.values("m.count")) >= seen + 5)
    said = {device: text for bus in site.status()["buses"] for device, text in bus.get("said", {}).items()}
    for n, (flood, connections) in enumerate(zip(floods, before, strict=True)):
        assert "sends without end" in said[f"d{n}"] or "something else than Modbus" in said[f"d{n}"]
        assert flood.connections - connections <= 4, "a flood is not connected to again at once"
        assert 1 <= site.log.read_text().count(f"wire lost bus=b{n} ") <= 2
    assert site.rss_mb() < 60
