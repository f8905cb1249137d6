"""A resolver that never answers, and hosts that say too much, in a whole agent: everything else goes on."""

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
