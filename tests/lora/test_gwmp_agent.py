"""A whole agent with its own network server: nodes that join, a valve that is commanded, kill -9, and a flood."""

import asyncio
import base64
import json
import random
import socket
import time
from contextlib import asynccontextmanager

import pytest

from agent.demo.lorawan import AbpNode, Concentrator, OtaaNode
from tests.fakes.gateway import Site, Slave
from tests.fakes.ports import free_port

KEY, VALVE_KEY = bytes(range(1, 17)), bytes(range(33, 49))
ROOM, VALVE, JOIN_EUI = "24e124136b316001", "24e124136b316009", "24e124c0002a0001"
GATEWAY = "0102030405060708"
PROFILE = """\
name: valve
lora:
  fport: 2
  interval: 10min
  struct: [{field: position, type: u8}]
  downlink: [{field: position, as: u8, prefix: "01"}]
points:
  position: {unit: "%", writable: true, low: 0, high: 100}
"""


@pytest.fixture
def site(tmp_path):
    """A Modbus module that is polled five times a second, a gateway's port, and three nodes."""
    slave = Slave()
    made = Site(tmp_path, slave, 1)
    made.slave, made.port = slave, free_port(socket.SOCK_DGRAM)
    del made.document["uplink"]
    for name, key in {"app": KEY, "valve": VALVE_KEY, "network": KEY, "session": KEY[::-1]}.items():
        (tmp_path / f"{name}.key").write_text(key.hex() + "\n")
    (tmp_path / "profiles" / "valve.yaml").write_text(PROFILE)
    made.document["buses"]["air"] = {"type": "lora_gwmp", "listen": f"127.0.0.1:{made.port}", "gateways": [GATEWAY]}
    by_otaa = {"bus": "air", "join_eui": JOIN_EUI, "app_key": {"file": "app.key"}}
    made.document["devices"] |= {
        "room": {**by_otaa, "dev_eui": ROOM, "profile": "milesight_em300_th"},
        "v": {**by_otaa, "app_key": {"file": "valve.key"}, "dev_eui": VALVE, "profile": "valve"},
        "meter": {
            "bus": "air", "dev_addr": "01abcdef", "nwk_s_key": {"file": "network.key"},
            "app_s_key": {"file": "session.key"}, "profile": "milesight_em300_th",
        },
    }  # fmt: skip
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()
    slave.close()


@asynccontextmanager
async def concentrator(site):
    air = await Concentrator("127.0.0.1", site.port, GATEWAY, at_once=True).open()
    try:
        await asyncio.wait_for(air.reached.wait(), 20)
        yield air
    finally:
        await air.close()


async def eventually(condition, what):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := await asyncio.to_thread(condition):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what} did not come true")


def value(site, point):
    return site.ask(do="read", points=[point])["points"][point]["value"]


def counters_down(air):
    frames = [base64.b64decode(order["data"]) for _, order in air.sent]
    return [frame[1:8] for frame in frames if frame[0] >> 5 in (3, 5)]


async def test_nodes_join_report_and_obey_and_outlive_a_kill(site):
    await asyncio.to_thread(site.start)
    room, valve = OtaaNode(ROOM, JOIN_EUI, KEY), OtaaNode(VALVE, JOIN_EUI, VALVE_KEY)
    meter = AbpNode("01abcdef", KEY, KEY[::-1])
    down = []
    async with concentrator(site) as air:
        await asyncio.gather(room.join(air), valve.join(air))
        air.nodes.append(meter)
        air.send(room.uplink(85, bytes.fromhex("01756403671001046871")))
        air.send(meter.uplink(85, bytes.fromhex("01753203670a01046850")))
        await eventually(lambda: value(site, "room.temperature") == 27.2, "the room's temperature")
        await eventually(lambda: value(site, "meter.battery") == 50, "the battery")
        order = asyncio.create_task(asyncio.to_thread(site.order, "v.position", 42))
        while not order.done():  # a class A device is spoken to when it has spoken
            air.send(valve.uplink(2, bytes([valve.received[-1][1][1] if valve.received else 7]), confirmed=True))
            await asyncio.sleep(0.4)
        assert (await order)[0] == "verified"
        assert valve.received[-1] == (2, b"\x01\x2a")
        down += counters_down(air)
        request = valve.join_request()
    await asyncio.to_thread(site.kill)
    await asyncio.to_thread(site.start)
    async with concentrator(site) as air:
        air.nodes += [room, valve, meter]
        for node in (room, meter):
            acked = node.acked
            air.send(node.uplink(85, bytes.fromhex("0367ff00"), confirmed=True))
            await eventually(lambda node=node, acked=acked: node.acked > acked, "the acknowledgement")
        await eventually(lambda: value(site, "room.temperature") == 25.5, "the room's temperature")
        down += counters_down(air)
        assert len(down) == len(set(down)), "a frame counter was used twice"
        air.send(request)
        air.send(request)
        log = await eventually(
            lambda: [row for row in site.ask(do="inspect", topic="join-log")["rows"] if row["device"] == "v"][1:],
            "the second join",
        )
        assert log[-1]["result"] == "accepted"
    secrets = site.log.read_text() + site.facts()
    for key in (KEY, KEY[::-1], VALVE_KEY):
        assert key.hex() not in secrets.lower()


@pytest.mark.slow
@pytest.mark.parametrize("left", ["node", "bus", "name taken", "key gone"])
@pytest.mark.parametrize("when", ["reload", "start"])
async def test_a_node_that_left_the_file_still_gets_its_safe_state(site, when, left):
    """Of class A: at its next uplink, over a kill too. What it says meanwhile is nobody's reading."""
    document = site.document
    document["actuators"]["gate"] = {"output": "v.position", "kind": "level", "safe_state": 0, "stop_state": "hold"}
    site.sabotage = "import drivers.lora.gwmp.device_table as register; register.KEY_RETRY = 0.5"
    await asyncio.to_thread(site.start)
    valve = OtaaNode(VALVE, JOIN_EUI, VALVE_KEY)
    async with concentrator(site) as air:
        await valve.join(air)
        order = asyncio.create_task(asyncio.to_thread(site.order, "gate", 42))
        while not order.done():
            air.send(valve.uplink(2, bytes([valve.received[-1][1][1] if valve.received else 7]), confirmed=True))
            await asyncio.sleep(0.4)
        assert (await order)[0] == "verified"
        if when == "start":
            await asyncio.to_thread(site.kill)
        del document["actuators"]["gate"], document["devices"]["v"]
        if left == "bus":
            document["devices"] = {name: one for name, one in document["devices"].items() if one["bus"] != "air"}
            del document["buses"]["air"]
        if left == "name taken":
            document["devices"]["v"] = {**document["devices"]["room"], "dev_eui": VALVE[:-1] + "a"}
        if left == "key gone":
            (site.folder / "valve.key").rename(site.folder / "valve.away")
        if when == "start":
            await asyncio.to_thread(site.start)
        else:
            site.write()
            await asyncio.to_thread(site.bocage, "reload", check=0)
            if left == "key gone":  # a running agent has read it
                await asyncio.to_thread(site.kill)
                await asyncio.to_thread(site.start)

        def orphaned():
            alarms = [one for one in site.status()["alarms"] if one["code"] == "output_orphaned"]
            return alarms[0] if alarms else None

        assert await eventually(orphaned, "the alarm while it waits")
        if left == "key gone":
            await eventually(lambda: "{file: valve.key} cannot be read" in site.log.read_text(), "the reason")
            (site.folder / "valve.away").rename(site.folder / "valve.key")
        async with asyncio.timeout(60):
            while valve.received[-1] != (2, b"\x01\x00"):
                air.send(valve.uplink(2, b"\x2a", confirmed=True))
                await asyncio.sleep(0.4)
        for _ in range(3):
            air.send(valve.uplink(2, b"\x00", confirmed=True))  # it confirms
            await asyncio.sleep(0.2)
        await eventually(lambda: orphaned() is None, "the end of the alarm")
    status = site.status()
    assert "v.position" not in [point["id"] for point in status["points"]]
    assert [bus["name"] for bus in status["buses"]] == list(document["buses"])
    await asyncio.to_thread(site.stop)
    kept = [file.read_text() for file in (site.folder / "state").glob("state*.json")]
    assert kept and VALVE_KEY.hex() not in "".join(kept) + site.log.read_text()
    owned = json.loads(site.facts())
    assert "v.position" not in json.dumps(owned)


@pytest.mark.slow
async def test_what_people_are_shown(site):
    await asyncio.to_thread(site.start)
    room = OtaaNode(ROOM, JOIN_EUI, KEY)
    async with concentrator(site) as air:
        await room.join(air)
        air.send(OtaaNode("f" * 16, JOIN_EUI, KEY).join_request())
        air.send(room.uplink(85, bytes.fromhex("017564"), confirmed=True))
        await eventually(lambda: value(site, "room.battery") == 100, "the battery")
    live = {topic: await asyncio.to_thread(site.bocage, "lora", topic, "--json", check=0)
            for topic in ("devices", "join-log", "airtime")}  # fmt: skip
    found = {topic: json.loads(done.stdout)[topic] for topic, done in live.items()}
    rows = {row["device"]: row for row in found["devices"]}
    assert (rows["room"]["state"], rows["room"]["battery"], rows["room"]["bus"]) == ("heard", 100, "air")
    assert (rows["v"]["state"], rows["meter"]["activation"]) == ("never heard", "abp")
    assert {(row["dev_eui"], row["result"]) for row in found["join-log"]} == {(ROOM, "accepted"), ("f" * 16, "refused")}
    used = {row["sub_band"]: row["used_ms"] for row in found["airtime"] if "sub_band" in row}
    assert used["868.0-868.6"] > 50
    assert {row["device"]: row["down_ms"] for row in found["airtime"] if "device" in row}["room"] > 50
    text = await asyncio.to_thread(site.bocage, "lora", "devices", check=0)
    assert ROOM in text.stdout
    await asyncio.to_thread(site.stop)
    kept = await asyncio.to_thread(site.bocage, "lora", "devices", "--json", check=0)
    again = {row["device"]: row for row in json.loads(kept.stdout)["devices"]}
    assert again["room"]["dev_addr"] == rows["room"]["dev_addr"]
    joins = await asyncio.to_thread(site.bocage, "lora", "join-log", check=0)
    assert "not in the site file" in joins.stdout
    assert KEY.hex() not in "".join(done.stdout for done in (*live.values(), text, kept, joins))


@pytest.mark.slow
async def test_a_flood_of_rubbish_does_not_disturb_polling(site):
    """5,000 datagrams a second for two seconds, half of them with the EUI of a gateway of ours."""
    await asyncio.to_thread(site.start)
    meter = AbpNode("01abcdef", KEY, KEY[::-1])
    async with concentrator(site) as air:
        await eventually(lambda: value(site, "m.count"), "polling")
        before = site.slave.registers[0]
        polls = await asyncio.to_thread(_flood, site, 2.0)
        assert polls - before >= 8  # of 10
        air.send(meter.uplink(85, bytes.fromhex("017563")))
        await eventually(lambda: value(site, "meter.battery") == 99, "an uplink after the flood")
    assert site.process.poll() is None


def _flood(site, seconds):
    """Send it evenly; the slave's count of polls at the end."""
    chance = random.Random(5)
    rubbish = [b"\x02ab\x00" + bytes.fromhex(GATEWAY) + chance.randbytes(80) for _ in range(50)]
    rubbish += [chance.randbytes(chance.randrange(1, 200)) for _ in range(50)]
    began, sent = time.monotonic(), 0
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", site.port))
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * 5000:
                sender.send(rubbish[sent % 100])
                sent += 1
            time.sleep(0.001)
    assert sent > 4000 * seconds
    return site.slave.registers[0]


@pytest.mark.slow
async def test_a_guest_that_its_driver_does_not_take_costs_the_bus_nothing(site):
    """What an earlier program kept of it, perhaps; it is an alarm, and the rest of the site runs."""
    site.document["actuators"]["gate"] = {"output": "v.position", "kind": "level", "safe_state": 0}
    await asyncio.to_thread(site.start)
    await asyncio.to_thread(site.kill)
    del site.document["actuators"]["gate"], site.document["devices"]["v"]
    site.sabotage = """
import drivers.lora.gwmp.bus as bus
whole = bus.end_device
bus.end_device = lambda spec: {}["of another program"] if spec.name == "v" else whole(spec)
"""
    await asyncio.to_thread(site.start)
    room = OtaaNode(ROOM, JOIN_EUI, KEY)
    async with concentrator(site) as air:
        await room.join(air)
        air.send(room.uplink(85, bytes.fromhex("01756403671001046871")))
        await eventually(lambda: value(site, "room.temperature") == 27.2, "the room's temperature")
