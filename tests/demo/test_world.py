"""The world of a site: registers by profile, what moves by the outputs, and the scenes that show each part."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.demo.registers import ProfileUnit
from agent.demo.slave import Illegal
from agent.demo.story import EVERY, FIRST, Story
from agent.demo.world import WetWell, World
from agent.site.loader import load
from drivers.modbus.codec import RegisterField

CONFIG = Path(__file__).parent.parent.parent / "config"
BEGAN = datetime(2027, 1, 13, 21, 15, tzinfo=ZoneInfo("Europe/Paris"))
HOUR = 3600.0


def point(register="input", address=0, **keys):
    usual = {"type": "u16", "order": "abcd", "scale": 1, "offset": 0, "bit": None, "length": None, "unavailable": None,
             "writable": False, "low": None, "high": None, "moves": None, "unit": ""}  # fmt: skip
    return {**usual, "register": register, "address": address, **keys}


def unit(sensed=None, **points):
    return ProfileUnit({"points": points}, lambda name: (sensed or {}).get(name))


@pytest.mark.parametrize("order", ["abcd", "cdab", "badc", "dcba"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("u16", 4711), ("i16", -300), ("u32", 3_000_000_000), ("i32", -70_000), ("u64", 1 << 40), ("i64", -(1 << 40)),
        ("f32", -2.5), ("f64", 1234.5678), ("bcd16", 9876), ("bcd32", 12_345_678),
    ],
)  # fmt: skip
def test_the_agent_reads_what_the_world_says(kind, value, order):
    field = point(type=kind, order=order)
    decoder = RegisterField(field)
    words = unit({"x": value}, x=field).words("input", 0, decoder.size // 2)
    assert decoder.decode(b"".join(word.to_bytes(2, "big") for word in words)) == value
    device = unit(x={**field, "register": "holding", "writable": True})
    for n, word in enumerate(decoder.encode(value)):
        device.set_word(n, word)
    assert device.output("x") == value


def test_scales_bits_and_words_for_on():
    device = unit(
        {"t": -11.0, "alarm": True},
        t=point(type="i16", scale=0.1),
        ready=point(address=1, bit=0),
        alarm=point(address=1, bit=3),
        pump=point("holding", 4, type="bool", on=85, off=170, writable=True),
    )
    assert device.words("input", 0, 2) == [0xFFFF - 109, 0b1000]
    assert device.output("pump") is False
    device.set_word(4, 85)
    assert device.output("pump") is True and device.words("holding", 4, 1) == [85]


def test_coils_hold_what_is_written_and_nothing_is_beyond_the_last():
    device = unit(
        {"di1": True}, relay1=point("coil", type="bool", writable=True), di1=point("discrete", 2, type="bool")
    )
    assert device.bits("discrete", 0, 3) == [False, False, True]
    device.set_bit(0, True)
    assert device.output("relay1") is True and device.bits("coil", 0, 1) == [True]
    for wrong in (
        lambda: device.bits("coil", 0, 2),
        lambda: device.words("input", 0, 1),
        lambda: device.set_word(0, 1),
    ):
        with pytest.raises(Illegal):
            wrong()


@pytest.fixture(scope="module")
def site():
    return load(CONFIG / "village.yaml")


@pytest.fixture
def world(site):
    return World(site, BEGAN)


def relay(world, actuator, on):
    """The agent writes a relay."""
    device, _, name = world.site.actuators[actuator].output.partition(".")
    place = world.site.devices[device]
    coil = place.profile_data["points"][name]["address"]
    world.units[place.bus][place.unit_id].set_bit(coil, on)


def words(world, reference):
    """What the agent reads of a point."""
    device, _, name = reference.partition(".")
    place = world.site.devices[device]
    found = place.profile_data["points"][name]
    return world.units[place.bus][place.unit_id].words(found["register"], found["address"], 1)[0]


def test_a_current_is_what_its_signal_makes_of_it(world):
    world.forced["tank-level"] = 50.0
    assert words(world, "io-3.ai1") == 12_000
    world.forced["cold-room"] = -40.0
    assert words(world, "io-5.ai3") == 4_000


def test_the_tank_fills_by_its_pumps_and_the_flow_shows_it(world):
    before = world.sensed("tank-level")
    world.step(HOUR)
    assert world.sensed("tank-level") < before and world.sensed("tank-flow") == 0
    relay(world, "p2", True)
    before = world.sensed("tank-level")
    world.step(HOUR)
    assert world.sensed("tank-level") > before + 5 and world.sensed("tank-flow") == pytest.approx(12)
    assert world.flows["north-in"] == pytest.approx(12_000) and 0 < world.flows["north-out"] < 12_000


def test_rain_is_more_than_two_pumps_can_empty_and_flows_over(world):
    station = next(part for part in world.parts if isinstance(part, WetWell))
    for pump in ("s1", "s2"):
        relay(world, pump, True)
    world.step(HOUR)
    assert world.sensed("sump") < 0.4 and world.sensed("io-4.di4") is False
    station.storm = True
    world.step(HOUR)
    assert world.sensed("sump") > 2 and world.sensed("io-4.di4") is True and world.sensed("spill-flow") > 1
    station.storm = False
    world.step(HOUR)
    assert world.sensed("sump") < 0.4 and world.sensed("io-4.di4") is False


def test_a_room_warms_by_its_burners_and_a_heat_pump_follows_its_setpoint(world):
    cold = world.sensed("hall-temp")
    relay(world, "b1", True)
    relay(world, "b2", True)
    place = world.site.devices["hp"]
    world.units[place.bus][place.unit_id].set_word(0, 450)
    world.step(2 * HOUR)
    assert world.sensed("hall-temp") > cold + 3 and world.sensed("hall-flow") > 65
    assert world.sensed("school-flow") == pytest.approx(45, abs=1) == world.sensed("hp.flow")


def test_lamps_take_their_power_and_the_sun_shows(world):
    dark = world.sensed("meter-a.active_power")
    relay(world, "km1", True)
    world.step(60)
    assert world.sensed("meter-a.active_power") > dark + 1700 and world.sensed("lux") < 10
    world.step((12 + 2.75) * HOUR)
    assert world.now.hour == 12 and world.sensed("lux") > 100


def play(story, world, hours):
    """What the story says, with the hour."""
    found = []
    for _ in range(round(hours * 30)):
        world.step(120)
        found += [(world.seconds / HOUR, said) for said in story.step()]
    return found


def test_each_part_of_the_village_has_its_turn(world):
    said = [words for _, words in play(Story(world, 1.0), world, 14)]
    ends = ("is over", "back at", "opens", "is out")
    begun = [one for one in said if not any(end in one for end in ends)]
    assert begun == [
        "a passer-by is seen: io-1.di8 (lane)",
        "the contact io-2.di8 closes",
        "a button is pressed: io-1.di5 (main-street)",
        "a cloudburst: relevage-1 gets more than its pumps can empty",
        "a button is pressed: io-1.di6 (main-street)",
        "cold-room goes to -11 degC",
        "chlorine goes to 0 mg/L",
        "pressure goes to 3.7 bar",
        "the contact io-1.di7 closes",
        "class-co2 goes to 1700 ppm",
        "a fire: much is drawn from reservoir",
    ]


def test_a_fire_empties_the_tank_until_all_its_pumps_are_called_for(world):
    """Half way between `low` and `both_below`: below the one, above the other."""
    relay(world, "p1", True)
    story = Story(world, 1.0)
    assert [at for at, said in play(story, world, 13.5) if "a fire:" in said] == [pytest.approx(13.25, abs=0.1)]
    assert world.sensed("tank-level") > 80
    while not any("the fire is out" in said for said in story.step()):
        world.step(120)
    level = world.sensed("tank-level")
    assert 11 < level < 12.5 and 15 < world.seconds / HOUR < 17
    world.step(HOUR)
    assert world.sensed("tank-level") > level + 7, "the pump fills it again"


def test_a_sensor_stands_still_while_a_pump_runs(world):
    story = Story(world, 1.0)
    assert not any("stands still" in said for _, said in play(story, world, 18)), "no pump runs"
    relay(world, "p2", True)
    (_, said), *_ = play(story, world, 0.1)
    stood = words(world, "io-3.ai1")
    assert said == "tank-level stands still"
    play(story, world, 2.4)
    assert words(world, "io-3.ai1") == stood, "longer than the 2 h of the alarm no-fill"
    assert [said for _, said in play(story, world, 1)] == ["tank-level moves again"]
    assert words(world, "io-3.ai1") > stood + 2000


def test_the_cable_of_a_level_is_cut_before_the_hours_in_which_it_is_filled_all_the_same(world):
    story, lost = Story(world, 1.0), {}
    for _ in range(36 * 30):
        world.step(120)
        list(story.step())
        lost[world.now.strftime("%d %H:%M")] = words(world, "io-3.ai1") == 0
    dark = [at for at, is_lost in lost.items() if is_lost]
    assert ("15 00:1" < dark[0] < "15 00:3") and ("15 04:1" < dark[-1] < "15 04:3"), "2 h before 02:20"


def test_what_goes_wrong_is_mended(world):
    story = Story(world, 1.0)
    calm = {name: world.sensed(name) for name in ("cold-room", "chlorine", "pressure", "class-co2", "io-2.di8")}
    assert calm == {"cold-room": -20, "chlorine": 0.2, "pressure": 5, "class-co2": 600, "io-2.di8": False}
    play(story, world, 14)
    assert {name: world.sensed(name) for name in calm} == calm
    assert not next(part for part in world.parts if isinstance(part, WetWell)).storm


def test_a_scene_lasts_as_long_as_devices_need_and_the_next_waits_for_it(world):
    hurried = 2 * EVERY / 4.0  # s: four real ones are two scenes
    told = play(Story(world, hurried), world, 10)
    hatch = [at for at, said in told if "io-2.di8" in said]
    assert hatch[1] - hatch[0] >= 4 * hurried / HOUR
    rain = next(at for at, said in told if "cloudburst" in said)
    assert rain > hatch[1]


def test_the_story_begins_anew_a_day_later(world):
    told = play(Story(world, 1.0), world, 28)
    assert [round(at * HOUR / 120) for at, said in told if said == "the contact io-2.di8 closes"] == [
        pytest.approx((FIRST + day * 86400) / 120, abs=1) for day in range(2)
    ]
