"""A node by itself: what a frame gives, what is counted and learnt, and when it is silent."""

import math

import pytest

from agent.errors import DeviceError
from agent.model import Kind, Quality
from drivers.api import DeviceSpec
from drivers.lora.codecs.result import Decoded
from drivers.lora.node import Frame, Node
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore

T0 = 1_780_000_000_000
PROFILE = {
    "lora": {
        "class": "A", "fport": 85, "interval": 600.0,
        "struct": (
            {"field": "temperature", "type": "i16be", "scale": 0.1},
            {"field": "valve.position", "type": "u8"},
            {"field": "open", "type": "bool"},
        ),
        "downlink": ({"field": "valve.position", "as": "u8", "prefix": "0a"},),
        "history": {"field": "log", "time": "t", "unit": "s"},
    },
    "points": {
        "temperature": {"field": "temperature", "unit": "degC", "kind": "telemetry"},
        "valve": {"field": "valve.position", "unit": "%", "kind": "telemetry", "writable": True, "low": 0, "high": 100},
        "open": {"kind": "state"},
        "energy": {"field": "meter.0.wh", "unit": "kWh", "kind": "counter", "scale": 0.001},
    },
}  # fmt: skip
PAYLOAD = bytes.fromhex("00d72a01")


@pytest.fixture
def clock():
    return FakeClock(boot="b", epoch=T0 / 1000)


@pytest.fixture
def memory():
    return FakeStore()


@pytest.fixture
def make(clock, memory):
    return lambda profile=PROFILE, **options: Node(DeviceSpec("n", {}, profile, options=options), clock, memory)


@pytest.fixture
def node(make):
    return make()


@pytest.fixture
def hear(clock):
    """One frame after so many seconds."""

    async def after(node, seconds, fcnt=None, payload=PAYLOAD, fport=85, **more):
        clock.at += seconds
        return values(await node.uplink(Frame(payload, clock.now(), fport, fcnt, **more)))

    return after


def values(readings):
    return {r.point.removeprefix("n."): r.value for r in readings if r.measured_at is None}


async def test_a_frame_gives_its_values_and_what_is_known_of_the_node(node, hear, clock):
    found = await hear(node, 0, fcnt=7, rssi=-103.0, snr=-4.2, sf=12)
    assert found == {
        "temperature": 21.5, "valve": 42, "open": True, "rssi": -103.0, "snr": -4.2, "sf": 12, "fcnt": 7, "lost": 0,
        "last_seen": (T0 + 1_000_000) // 1000, "interval": 600.0, "payload": "85:00d72a01", "codec_error": "",
    }  # fmt: skip
    kinds = {point.id.removeprefix("n."): point.kind for point in node.points}
    assert kinds["energy"] is Kind.COUNTER and kinds["battery"] is Kind.TELEMETRY and kinds["rssi"] is Kind.DIAGNOSTIC
    deferred = [point.id for point in node.points if point.deferred]
    assert deferred == ["n.valve"]
    assert values(node.battery(61.5, clock.now())) == {"battery": 61.5}


async def test_a_payload_that_is_too_short_costs_its_values_only(node, hear):
    await hear(node, 0, fcnt=1)
    found = await hear(node, 600, fcnt=2, payload=b"\x00")
    assert "temperature" not in found and found["payload"] == "85:00" and "too short" in found["codec_error"]
    assert node.last["n.temperature"].value == 21.5
    assert (await hear(node, 600, fcnt=3))["codec_error"] == ""


async def test_another_port_is_kept_and_not_read(node, hear):
    found = await hear(node, 0, fport=10)
    assert "temperature" not in found and found["payload"] == "10:00d72a01" and found["codec_error"] == ""


async def test_what_a_network_server_decoded_goes_first_and_ours_reads_what_it_lacks(node, hear):
    found = await hear(node, 0, decoded={"temperature": 5, "meter": [{"wh": 1_234_567}], "magnet": "open"})
    assert (found["temperature"], found["energy"]) == (5, 1234.567)
    assert (found["valve"], found["open"], found["codec_error"]) == (42, True, "")
    found = await hear(node, 9, decoded={"temperature": 6}, payload=b"\x00")
    assert (found["temperature"], found["codec_error"]) == (6, ""), "ours cannot read it, and need not"
    assert (await hear(node, 9, decoded={"else": 5}))["temperature"] == 21.5


@pytest.mark.parametrize("bad", [math.nan, math.inf, [1], {"a": 1}, "warm", 10**400, None, b"x", object(), False])
async def test_what_is_no_value_is_bad_and_said(node, clock, bad):
    readings = await node.uplink(Frame(PAYLOAD, clock.now(), 85, decoded={"temperature": bad, "open": "closed"}))
    (one,) = [r for r in readings if r.point == "n.temperature"]
    assert (one.value, one.quality) == (None, Quality.BAD)
    assert values(readings)["open"] is True
    assert values(readings)["codec_error"].startswith("temperature: ")


async def test_a_bad_value_is_said_once_until_it_is_good(make, hear, caplog):
    node = make()
    for fcnt, value in enumerate([None, None, 20.5, None]):
        await hear(node, 600, fcnt=fcnt, decoded={"temperature": value})
    said = [record.message for record in caplog.records if "no value point=n.temperature" in record.message]
    assert len(said) == 2 and "null stands where a value should" in said[0]


async def test_variables_of_the_device_reach_its_codec(make, hear, tmp_path):
    pytest.importorskip("quickjs")
    (tmp_path / "own.js").write_text("function decodeUplink(i) { return {data: {t: i.bytes[0] + i.variables.offset}} }")
    node = make(profile={"lora": {"codec": str(tmp_path / "own.js")}, "points": {"t": {}}}, variables={"offset": 2.5})
    assert (await hear(node, 0, payload=b"\x07"))["t"] == 9.5


DOOR = {
    "lora": {"struct": [{"field": "x", "type": "u8"}]},
    "points": {"door": {"kind": "state", "states": {"open": True, "close": False, "3": True, "true": False}}},
}


@pytest.mark.parametrize(
    ("word", "state"),
    [("open", True), (" CLOSE", False), ("ajar", None), (3, True), (3.0, True), (0, 0), (2, None), (True, False),
     (False, False)],
)
async def test_words_are_on_or_off_by_the_profile(make, clock, word, state):
    readings = await make(profile=DOOR).uplink(Frame(b"\0", clock.now(), 85, decoded={"door": word}))
    (one,) = [r for r in readings if r.point == "n.door"]
    assert (one.value, one.quality) == (state, Quality.BAD if state is None else Quality.GOOD)
    reason = values(readings)["codec_error"]
    assert reason == (f"door: {word!r} is none of the states open, close, 3, true" if state is None else "")


async def test_a_word_of_the_network_server_is_never_taken_for_on_or_off(node, clock):
    found = values(await node.uplink(Frame(PAYLOAD, clock.now(), 85, 1, decoded={"temperature": 5, "open": "closed"})))
    assert (found["open"], found["codec_error"]) == (True, "")
    readings = await node.uplink(Frame(b"", clock.now(), 85, 2, decoded={"temperature": 5, "open": "closed"}))
    (one,) = [r for r in readings if r.point == "n.open"]
    assert (one.value, one.quality) == (None, Quality.BAD)
    assert values(readings)["codec_error"].startswith("open: 'closed' stands where on or off should")


async def test_numbers_as_text_are_numbers(node, hear):
    assert (await hear(node, 0, decoded={"temperature": "-3.50"}))["temperature"] == -3.5


async def test_a_node_that_always_says_the_same_number_is_heard_after_a_restart(node, hear, make):
    await hear(node, 0, fcnt=0)
    node.keep()
    again = make()
    assert await hear(again, 5, fcnt=0) == {}  # the last frame once more, as far as anybody can tell
    assert (await hear(again, 5, fcnt=0, payload=bytes.fromhex("00642a00")))["temperature"] == 10.0
    assert (await hear(again, 700, fcnt=0, payload=bytes.fromhex("00642a00")))["temperature"] == 10.0


async def test_another_frame_of_the_kept_number_is_heard_after_a_power_cut(node, hear, make, memory):
    """The number was kept a while ago; the node joined anew since, and has come to the same one."""
    await hear(node, 0, fcnt=7)
    node.keep()
    kept = {**memory["lora.n"]}
    assert (await hear(make(), 5, fcnt=7, payload=bytes.fromhex("00642a00")))["temperature"] == 10.0
    assert await hear(make(), 5, fcnt=7) == {}, "the frame itself, once more"

    del kept["print"]  # of the program before
    memory["lora.n"] = kept
    before = make()
    assert await hear(before, 5, fcnt=7) == {}, "nobody can tell"
    assert before.lost is False and (await hear(before, 600, fcnt=9))["lost"] == 1


async def test_a_join_outlives_a_restart(node, hear, make):
    await hear(node, 0, fcnt=0)
    node.keep()
    node.joined()
    node.keep()
    assert (await hear(make(), 5, fcnt=0))["lost"] == 0, "the first frame after the join says what the last one said"


async def test_lost_frames_resets_and_repeats(node, hear, make):
    assert (await hear(node, 0, fcnt=10))["lost"] == 0
    assert await hear(node, 3, fcnt=10) == {}, "a retransmission"
    assert (await hear(node, 600, fcnt=14))["lost"] == 3
    assert (await hear(node, 600, fcnt=2))["lost"] == 3, "it began anew"
    assert (await hear(node, 600, fcnt=4_000_000_000))["lost"] == 3, "a reset is not a million lost frames"
    node.joined()
    assert (await hear(node, 600, fcnt=2))["lost"] == 5, "0 and 1 after the join"
    node.keep()
    again = make()
    assert await hear(again, 1, fcnt=2) == {}, "delivered again after a restart"
    assert (await hear(again, 600, fcnt=4))["lost"] == 6


async def test_history_goes_with_its_own_time(node, clock):
    entries = [{"t": T0 / 1000 + 100, "temperature": 19.5}, {"t": 0, "temperature": 1}, {"temperature": 2}, "rubbish"]
    readings = await node.uplink(Frame(PAYLOAD, clock.now(), 85, decoded={"temperature": 20, "log": entries}))
    kept = [r for r in readings if r.measured_at is not None]
    assert [(r.point, r.value, r.measured_at, r.at) for r in kept] == [
        ("n.temperature", 19.5, T0 + 100_000, clock.now())
    ]
    assert values(readings)["temperature"] == 20 and "log: " in values(readings)["codec_error"]


async def test_a_frame_that_waited_elsewhere_is_history_and_no_sign_of_life(node, clock):
    due = node.due
    clock.at += 900
    readings = await node.uplink(Frame(PAYLOAD, clock.now(), 85, 5, heard_ms=T0))
    assert {r.measured_at for r in readings} == {T0} and len(readings) > 5
    assert node.last == {} and node.due == due


@pytest.mark.parametrize(
    ("gaps", "learnt"),
    [
        ([60] * 2, 600),
        ([60] * 6, 60),
        ([3600] * 4, 3600),
        ([5, 5, 590] * 4, 600),
        ([5, 5, 5], 600),
        ([600] * 5 + [4] * 20, 600),
        ([600] * 5 + [86_400] + [600] * 2, 600),
        ([600] * 5 + [10] * 100, 10),
        ([600] * 5 + [1800] * 4, 1800),
    ],
)
async def test_the_interval_is_learnt(node, hear, gaps, learnt):
    await hear(node, 0)
    for gap in gaps:
        found = await hear(node, gap)
    assert found["interval"] == pytest.approx(learnt, rel=0.02)
    assert node.due == pytest.approx(node._clock.monotonic() + 3 * learnt, rel=0.02)


@pytest.mark.parametrize("gap", [16_385, 70_000, 200_000])
async def test_a_long_outage_is_lost_frames_too(node, hear, gap):
    await hear(node, 0, fcnt=10)
    assert (await hear(node, 600, fcnt=10 + gap))["lost"] == gap - 1


async def test_lost_frames_do_not_stretch_the_interval(node, hear):
    for fcnt in (0, 2, 5, 7, 9):
        found = await hear(node, 600 * (fcnt - (node._fcnt or 0)), fcnt=fcnt)
    assert found["interval"] == 600


async def test_silence_is_told_once_and_outlives_a_restart(node, hear, clock, make):
    await hear(node, 0)
    clock.at += 1799
    assert node.silent() == [] and not node.lost and node.is_in_time
    clock.at += 1
    stale = node.silent()
    assert {r.point for r in stale} == {"n.temperature", "n.valve", "n.open"}
    assert {r.quality for r in stale} == {Quality.STALE} and values(stale)["temperature"] == 21.5
    assert node.lost and node.silent() == [] and node.due == math.inf
    again = make()
    assert not again.unheard, "it is known to be lost"
    assert again.lost and not (node.is_in_time or again.is_in_time)
    await hear(again, 5)
    assert not again.lost and again.is_in_time
    again.keep()
    later = make()
    assert later.unheard and not later.lost
    await hear(later, 600)
    assert not later.unheard


@pytest.mark.parametrize("frame", [{"payload": b"\x00"}, {"fport": 3}, {"payload": b""}])
async def test_values_are_stale_when_no_frame_can_be_read_any_more(make, hear, clock, frame):
    node, empty = make(), frame == {"payload": b""}
    await hear(node, 0, fcnt=1)
    for fcnt in (2, 3):
        await hear(node, 600, fcnt=fcnt, **frame)
        assert node.last["n.temperature"].quality is Quality.GOOD
    await hear(node, 601, fcnt=4, **frame)
    assert not node.lost and node.last["n.temperature"].value == 21.5
    assert (node.last["n.temperature"].quality is Quality.STALE) is not empty, "an empty frame says that it is well"
    assert node.last["n.fcnt"].quality is Quality.GOOD
    told = await hear(node, 600, fcnt=5, **frame)
    assert "temperature" not in told, "it is told once"
    assert (await hear(node, 600, fcnt=6))["temperature"] == 21.5
    assert node.last["n.temperature"].quality is Quality.GOOD


async def test_what_comes_after_an_unknown_record_is_stale_and_what_comes_before_is_not(make, hear):
    records = ({"type": 1, "field": "battery", "as": "u8"}, {"type": 2, "field": "temperature", "as": "u8"},
               {"type": 3, "field": "open", "as": "bool"})  # fmt: skip
    points = {"battery": {"unit": "%"}, **{name: PROFILE["points"][name] for name in ("temperature", "open")}}
    node = make({"lora": {"tlv": records, "interval": 600.0}, "points": points})
    await hear(node, 0, fcnt=1, payload=bytes.fromhex("016402150301"))
    for fcnt in range(2, 6):
        await hear(node, 600, fcnt=fcnt, payload=bytes.fromhex("01640215"))
    assert node.last["n.open"].quality is Quality.GOOD, "a contact that tells of changes only"
    for fcnt in range(6, 10):
        await hear(node, 600, fcnt=fcnt, payload=bytes.fromhex("01640909021503"))
    qualities = {name: node.last[f"n.{name}"].quality for name in points}
    assert qualities == {"battery": Quality.GOOD, "temperature": Quality.STALE, "open": Quality.STALE}


async def test_stored_samples_alone_make_the_present_stale(make, hear):
    fields = {"_old": "bool", "temperature": "u8", "t": "u32be"}
    struct = tuple({"field": name, "type": kind} for name, kind in fields.items())
    blocks = {"length": 6, "list": "log", "when": {"_old": (1,)}}
    node = make({**PROFILE, "lora": {"struct": struct, "blocks": blocks, "interval": 600.0}})
    await hear(node, 0, fcnt=1, payload=bytes.fromhex("001500000000"))
    for fcnt in range(2, 6):
        await hear(node, 600, fcnt=fcnt, payload=bytes.fromhex("010869248100"))
    assert (node.last["n.temperature"].value, node.last["n.temperature"].quality) == (21, Quality.STALE)


async def test_a_stated_time_says_alone_when_what_cannot_be_read_is_stale(make, hear):
    node = make(stale_after=86_400)
    for fcnt in range(9):
        await hear(node, 600, fcnt=fcnt, payload=b"\x00" if fcnt else PAYLOAD)
    assert node.last["n.temperature"].quality is Quality.GOOD


async def test_a_stated_time_makes_stale_and_not_the_silence(make, hear, clock):
    node = make(stale_after=2700)
    await hear(node, 0)
    clock.at += 1800
    assert node.silent() == [] and node.lost


async def test_a_node_that_never_spoke_and_has_no_interval_is_lost_after_a_day(make, clock):
    node = make(profile=None)
    clock.at += 86_399
    assert node.silent() == [] and not (node.lost or node.is_in_time)
    clock.at += 1
    assert node.silent() == [] and node.lost


async def test_what_is_sent(node):
    assert await node.encode("n.valve", 50) == (85, b"\x0a\x32")
    for point, value in (("n.temperature", 3), ("n.nothing", 1), ("n.rssi", 1), ("n.valve", 300), ("n.valve", "x")):
        with pytest.raises(DeviceError):
            await node.encode(point, value)


async def test_without_a_profile_the_payload_is_all(make, hear):
    assert (await hear(make(profile=None), 0))["payload"] == "85:00d72a01"


async def test_warnings_of_a_codec_are_told_once_a_minute(node, hear, clock, monkeypatch, caplog):
    class Warns:
        async def decode(self, payload, fport, received_ms):
            return Decoded({"temperature": 1}, ("battery is low",))

    monkeypatch.setattr(node, "_codec", Warns())
    for _ in range(5):
        assert (await hear(node, 10))["temperature"] == 1
    assert [record.message for record in caplog.records if "battery is low" in record.message] == [
        'codec warns device=n text="battery is low" next=its values are taken'
    ]
    clock.at += 60
    await hear(node, 10)
    assert caplog.text.count("battery is low") == 2


async def test_what_is_learnt_is_kept_when_it_changed(node, hear, memory):
    node.keep()
    assert memory == {}
    await hear(node, 10)
    node.keep()
    assert "lora.n" in memory
    memory.clear()
    node.keep()
    assert memory == {}
