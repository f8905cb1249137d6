"""Which controls are stepped, what becomes of their wishes and happenings, and what survives."""

import asyncio
from datetime import datetime

import pytest

from agent.control.api import Step
from agent.control.named_calendars import Occurrences
from agent.errors import Rejected
from agent.model import Command, Point, Quality


def command(house, point, value):
    return Command("c1", point, value, house.clock.now())


def steps(engine, index=0):
    return engine._rules[index].state.steps


async def test_only_a_changed_input_or_a_due_time_steps_a_control(house, thermostat):
    engine = house.engine(thermostat(), thermostat("hall", "hall-temp", "pump", period=60))
    await engine.look()
    assert (steps(engine), steps(engine, 1)) == (1, 1), "all are stepped once"
    engine.observe(house.reading("temp", 15.0))
    await engine.look()
    assert (steps(engine), steps(engine, 1)) == (2, 1)
    house.clock.at += 10
    engine.observe(house.reading("temp", 15.0))
    assert not engine.woken, "the same value again is no change"
    assert engine._points["temp"].at == 110, "but it was heard of"
    engine.observe(house.reading("elsewhere", 1))
    await engine.look()
    assert (steps(engine), steps(engine, 1)) == (2, 1)
    assert engine.due_next() == 160
    house.clock.at = 160
    await engine.look()
    assert (steps(engine), steps(engine, 1)) == (2, 2)
    engine.observe(house.reading("temp", 15.0, Quality.STALE))
    await engine.look()
    assert steps(engine) == 3, "another quality is a change"


async def test_a_calendar_of_another_content_steps_the_controls_that_ask_for_it(house, thermostat):
    engine = house.engine(thermostat("hall", "calendar:hall"), thermostat("other", "other"))
    first, second = Occurrences(((1, 2),), 0, 9), Occurrences(((1, 3),), 0, 9)
    engine.take_calendars({"hall": first})
    await engine.look()
    assert (steps(engine), steps(engine, 1)) == (1, 1)
    engine.take_calendars({"hall": Occurrences(((1, 2),), 0, 9)})
    await engine.look()
    assert steps(engine) == 1, "the same content is no change"
    engine.take_calendars({"hall": second})
    assert engine.woken
    await engine.look()
    assert (steps(engine), steps(engine, 1)) == (2, 1)
    engine.take_calendars({})
    await engine.look()
    assert steps(engine) == 3, "one that is gone is a change"


async def test_an_output_that_moved_wakes_who_looks_at_it(house, thermostat):
    engine = house.engine(thermostat(), thermostat("hall", "hall-temp", "pump"))
    await engine.look()
    house.arbiter.now["pump"] = house.arbiter.now["pump"]._replace(value=True, priority=8)
    house.arbiter.told()
    assert engine.woken
    await engine.look()
    assert (steps(engine), steps(engine, 1)) == (1, 2)


async def test_a_wish_that_is_missing_is_relinquished(house, thermostat):
    engine = house.engine(thermostat())
    engine.observe(house.reading("temp", 15.0))
    await engine.look()
    assert house.arbiter.wishes == {("burner", 15): (True, "room 15")}
    engine.observe(house.reading("temp", 31.0))
    await engine.look()
    assert house.arbiter.wishes == {("burner", 2): (False, "overheat")}
    asked = house.arbiter.asked
    engine.observe(house.reading("temp", 32.0))
    await engine.look()
    assert house.arbiter.asked == asked, "the same wish is not told again"


async def test_who_wants_a_shared_pump_gets_it(house, thermostat):
    engine = house.engine(thermostat(actuator="pump"), thermostat("hall", "hall-temp", "pump"))
    engine.observe(house.reading("temp", 15.0))
    engine.observe(house.reading("hall-temp", 25.0))
    await engine.look()
    assert house.arbiter.wishes["pump", 15] == (True, "room 15")
    engine.observe(house.reading("temp", 25.0))
    await engine.look()
    assert house.arbiter.wishes["pump", 15][0] is False


async def test_an_alarm_and_its_latch_are_durable_at_once_and_survive(house, thermostat):
    engine = house.engine(thermostat())
    engine.observe(house.reading("temp", 31.0))
    await engine.look()
    assert house.events == [("alarm", "overheat", "room")]
    assert house.memory.durable["control.room"]["latched"] is True
    house.memory.power_cut()
    again = house.engine(thermostat())
    again.observe(house.reading("temp", 31.0))
    await again.look()
    assert house.arbiter.wishes[("burner", 2)] == (False, "overheat")
    assert len(house.events) == 1, "raised once"


async def test_no_memory_knows_of_an_alarm_that_was_not_told(house, thermostat):
    """A kill while it is told: any other write of the state has put all that is in memory on flash."""
    engine = house.engine(thermostat())
    seen = []

    async def tell(event):
        seen.append(house.memory.get("control.room"))

    engine._tell = tell
    engine.observe(house.reading("temp", 31.0))
    await engine.look()
    assert seen == [None], "its wish changed too, which is kept at once otherwise"
    assert house.memory.durable["control.room"]["latched"] is True


async def test_the_beginning_of_a_count_is_durable_at_once(house, thermostat):
    class Counter(thermostat):
        def mark(self, state):
            return state.steps // 2

    engine = house.engine(Counter())
    kept = []
    for temp in (20, 21, 22, 23):
        engine.observe(house.reading("temp", temp))
        await engine.look()
        kept.append(house.memory.durable.get("control.room", {}).get("steps"))
    assert kept == [None, 2, 2, 4]


async def test_what_only_counts_is_kept_now_and_then_and_at_the_end(house, thermostat):
    engine = house.engine(thermostat(period=1))
    engine.observe(house.reading("temp", 15.0))
    for _ in range(59):
        await engine.look()
        house.clock.at += 1
    kept = house.memory["control.room"]["steps"]
    assert kept == 1, "a wish that changed is kept, steps are not"
    for _ in range(3):
        await engine.look()
        house.clock.at += 1
    assert house.memory["control.room"]["steps"] >= 60
    await engine.look()
    await engine.close()
    assert house.memory["control.room"]["steps"] == 63
    assert "control.room" not in house.memory.durable


async def test_memory_that_is_not_understood_starts_anew(house, thermostat):
    house.memory.put("control.room", {"what": "ever"})
    engine = house.engine(thermostat())
    await engine.look()
    assert steps(engine) == 1


async def test_a_control_with_a_bug_does_not_stop_the_others(house, thermostat):
    engine = house.engine(thermostat(), thermostat("hall", "hall-temp", "pump"))
    engine.observe(house.reading("temp", 15.0))
    await engine.look()
    engine.observe(house.reading("temp", 13.0))
    engine.observe(house.reading("hall-temp", 15.0))
    await engine.look()
    await engine.look()
    assert house.arbiter.wishes == {("pump", 15): (True, "room 15")}
    assert house.events == [("alarm", "control_failed", "room")]
    engine.observe(house.reading("temp", 16.0))
    await engine.look()
    assert house.events[1:] == [("cleared", "control_failed", "room")]
    assert house.arbiter.wishes["burner", 15] == (True, "room 16")


@pytest.mark.parametrize("again", [False, True], ids=["it works", "it fails again"])
async def test_a_control_that_failed_before_the_start_is_told_of_once_and_its_end_once(house, thermostat, again):
    """A start, or a reload, that mends it would leave the alarm open for ever; so would a control that leaves."""
    raised = [("control_failed", "room"), ("control_failed", "gone"), ("device_lost", "room")]
    engine = house.engine(thermostat(), raised=raised)
    if again:
        engine.observe(house.reading("temp", 13.0))
        await engine.look()
        assert house.events == [("cleared", "control_failed", "gone")]
    engine.observe(house.reading("temp", 16.0))
    await engine.look()
    assert house.events == [("cleared", "control_failed", "gone"), ("cleared", "control_failed", "room")]


async def test_a_wish_that_the_door_refuses_is_a_bug_of_its_control(house, thermostat):
    engine = house.engine(thermostat(actuator="nowhere"), thermostat("hall", "hall-temp", "pump"))
    engine.observe(house.reading("temp", 15.0))
    engine.observe(house.reading("hall-temp", 15.0))
    await engine.look()
    assert house.events == [("alarm", "control_failed", "room")]
    assert house.arbiter.wishes == {("pump", 15): (True, "room 15")}


async def test_a_command_resets_a_latch_durably(house, thermostat):
    engine = house.engine(thermostat())
    engine.observe(house.reading("temp", 31.0))
    await engine.look()
    engine.observe(house.reading("temp", 15.0))
    await engine.look()
    assert engine.point_command(command(house, "hall.latch", "reset")) is None
    with pytest.raises(Rejected, match="takes reset, not 'on'"):
        engine.point_command(command(house, "room.latch", "on"))
    action = engine.point_command(command(house, "room.latch", "reset"))
    assert house.arbiter.wishes == {("burner", 2): (False, "overheat")}, "nothing happens before it is on record"
    await action()
    assert house.arbiter.wishes == {("burner", 15): (True, "room 15")}
    assert house.memory.durable["control.room"]["latched"] is False


async def test_civil_time_is_the_last_trusted_anchor_plus_monotonic_time(house, thermostat):
    seen = []

    class Watch(thermostat):
        def step(self, state, view, now):
            seen.append((now.civil, now.trusted))
            return super().step(state, view, now)

    house.clock.restart(house.memory)
    engine = house.engine(Watch(period=1))
    await engine.look()
    house.clock.trusted = False
    house.clock.at += 3600
    await engine.look()
    assert seen == [
        (datetime.fromisoformat("2026-01-15T10:00:00+01:00"), True),
        (datetime.fromisoformat("2026-01-15T11:00:00+01:00"), False),
    ]
    house.clock.boot, house.clock.at = "boot-2", 5.0
    house.clock.restart(house.memory)
    await house.engine(Watch()).look()
    assert seen[-1] == (datetime.fromisoformat("2026-01-15T11:00:00+01:00"), False), "from flash, after another boot"
    house.memory.clear()
    house.clock.restart(house.memory)
    await house.engine(Watch()).look()
    assert seen[-1] == (None, False)


@pytest.fixture
def slow(house):
    """A flash that takes what it is given, and has it only when this is set."""
    gate = asyncio.Event()

    async def tell(event):
        house.events.append((event.kind, event.code, event.subject))
        await gate.wait()

    house.tell = tell
    return gate


async def live(engine):
    """Begin to run, and let it come to rest."""
    running = asyncio.create_task(engine.run())
    await asyncio.sleep(0.02)
    return running


async def test_a_slow_flash_holds_up_no_control(house, thermostat, slow):
    engine = house.engine(thermostat(), thermostat("hall", "hall-temp", "pump"))
    for name, temp in (("temp", 31.0), ("hall-temp", 20.0)):
        engine.observe(house.reading(name, temp))
    running = await live(engine)
    assert house.events == [("alarm", "overheat", "room")]
    engine.observe(house.reading("hall-temp", 15.0))
    await asyncio.sleep(0.02)
    assert house.arbiter.wishes == {("burner", 2): (False, "overheat"), ("pump", 15): (True, "room 15")}
    assert "control.room" not in house.memory, "it does not know of an alarm that is not told"
    slow.set()
    await asyncio.sleep(0.02)
    assert house.memory.durable["control.room"]["latched"]
    running.cancel()


async def test_what_a_slow_flash_has_not_heard_yet_is_told_at_a_stop(house, thermostat, slow):
    engine = house.engine(thermostat(), thermostat("hall", "hall-temp", "pump"))
    for name in ("temp", "hall-temp"):
        engine.observe(house.reading(name, 31.0))
    running = await live(engine)
    assert house.events == [("alarm", "overheat", "room")]
    running.cancel()
    await asyncio.wait({running})
    await engine.close()
    assert house.events == [("alarm", "overheat", "room"), ("alarm", "overheat", "hall")]
    assert all(house.memory[f"control.{name}"]["latched"] for name in ("room", "hall"))


async def test_a_clock_that_steps_wakes_everybody_and_is_said(house, thermostat):
    engine = house.engine(thermostat())
    await engine.look()
    await engine.look()
    house.clock.epoch += 1.0
    house.clock.now()
    assert not engine.woken
    await engine.look()
    assert steps(engine) == 1, "slewing is no step"
    house.clock.epoch += 30.0
    house.clock.now()
    assert engine.woken, "whoever asks for the time, the step is noticed"
    await engine.look()
    assert steps(engine) == 2 and house.events == [("clock", "clock_step", "gateway")], "half a minute is followed"


async def test_a_big_step_is_followed_when_it_has_held(house, thermostat):
    """The rule itself: tests/clock. Also where a site has no control at all."""
    days = []

    class Watch(type(thermostat())):
        def step(self, state, view, now):
            days.append(now.civil.day)
            return super().step(state, view, now)

    start = house.clock.epoch
    for controls in ([Watch()], []):
        house.events.clear()
        house.clock.epoch = start
        house.clock.restart(house.memory)
        engine = house.engine(*controls)
        await engine.look()
        house.clock.epoch += 86400.0
        await engine.look()
        assert house.events == [("alarm", "clock_step", "gateway")]
        assert engine.due_next() <= house.clock.at + 600
        house.clock.at += 600
        await engine.look()
        assert [kind for kind, _, _ in house.events] == ["alarm", "clock", "cleared"]
        house.memory.clear()
    assert days == [15, 16]


@pytest.fixture
def counter(thermostat):
    """A control that tells how often it was stepped."""

    class Counting(thermostat):
        points = (Point("room.steps", "room"),)

        def figures(self, state):
            return {"room.steps": state.steps}

    return Counting


async def test_an_account_is_told_once_it_is_on_flash(house, counter):
    engine, told = house.engine(counter(period=1)), []
    engine.publish = told.extend
    for _ in range(200):
        await engine.look()
        house.clock.at += 1
    assert [reading.point for reading in told] == ["room.steps"] * len(told) and 3 <= len(told) <= 5
    values = [reading.value for reading in told]
    assert values == sorted(values) and values[-1] <= house.memory["control.room"]["steps"]
    engine = house.engine(counter())
    engine.publish = told.extend
    await engine.look()
    assert told[-1].value >= values[-1], "a counter never goes back"


@pytest.mark.parametrize("cut_at", [0, 13, 59, 60, 61, 90, 119, 120, 121, 150, 199])
async def test_what_was_told_is_not_lost_with_the_power(house, counter, cut_at):
    """Wishes that change keep the state at other moments, and the disk refuses for a while."""

    engine, told = house.engine(counter(period=1)), []
    engine.publish = told.extend
    for second in range(cut_at + 1):
        house.memory.refuses = 20 <= second < 100
        engine.observe(house.reading("temp", 10.0 if second // 7 % 2 else 20.0))
        await engine.look()
        house.clock.at += 1
    house.memory.power_cut()
    again = house.engine(counter(period=1))
    assert again.own_points()["room.steps"] >= max((one.value for one in told), default=0)
    if cut_at == 199:
        assert len(told) > 2, "it is told again once the disk takes it"


async def test_a_figure_that_is_not_known_any_more_is_told_as_bad(house, thermostat):
    class Daily(type(thermostat())):
        points = (Point("room.balance", "room"),)

        def figures(self, state):
            return {"room.balance": 12.5} if state.steps < 4 else {}

    engine, told = house.engine(Daily(period=30)), []
    engine.publish = told.extend
    for _ in range(400):
        await engine.look()
        house.clock.at += 1
    assert engine.own_points() == {}
    assert [(one.value, str(one.quality)) for one in told] == [(12.5, "good"), (None, "bad")]


async def test_the_arbiter_hears_once_which_outputs_controls_name(house, thermostat):
    """After the first step of each: those that it looks at, and those that it wishes for."""

    class Wishes(type(thermostat())):
        inputs = frozenset({"temp"})

    engine = house.engine(thermostat("room", actuator="valve"), Wishes("other"))
    assert house.arbiter.named is None
    engine.observe(house.reading("temp", 10.0))
    await engine.look()
    assert house.arbiter.named >= {"valve", "burner"} and "lamp" not in house.arbiter.named
    house.arbiter.named = None
    house.clock.at += 100
    await engine.look()
    assert house.arbiter.named is None


async def test_a_control_looks_at_what_another_says(house, thermostat):
    """The one that is looked at fails: what it said is not known any more, until it goes on."""

    class Zone(type(thermostat())):
        points = (Point("room.mode", "room"),)
        broken = False

        def step(self, state, view, now):
            if Zone.broken:
                raise RuntimeError("a bug")
            return super().step(state, view, now)

        def facts(self, state):
            return {"room.mode": "frost" if state.latched else "comfort"}

    class Watch(type(thermostat())):
        inputs = frozenset({"room.mode"})

        def step(self, state, view, now):
            found = view.points.get("room.mode")
            seen.append(None if found is None else (found.value, str(found.quality)))
            return super().step(state, view, now)

    seen, told = [], []
    engine = house.engine(Watch("watch"), Zone(period=10))
    engine.publish = told.extend
    await engine.look()
    assert engine.woken
    await engine.look()
    engine.observe(house.reading("temp", 31.0))
    await engine.look()
    await engine.look()
    Zone.broken = True
    house.clock.at += 10
    await engine.look()
    await engine.look()
    assert seen == [None, ("comfort", "good"), ("frost", "good"), (None, "bad")]
    assert [reading.value for reading in told] == ["comfort", "frost", None]
    assert not engine.woken, "nothing changed"


async def test_run_waits_for_inputs_and_then_answers_each_change(house, thermostat):
    """In real time: a reading is acted on within the loop's next turns."""
    from agent.clock import SystemClock

    house.clock = SystemClock("always")
    engine = house.engine(thermostat())
    running = asyncio.create_task(engine.run())
    await asyncio.sleep(0)
    assert house.arbiter.wishes == {}
    for value, wanted in ((15.0, True), (25.0, False)):
        engine.observe(house.reading("temp", value))
        async with asyncio.timeout(5):
            while house.arbiter.wishes.get(("burner", 15), (None,))[0] is not wanted:
                await asyncio.sleep(0)
    assert engine.due() > house.clock.monotonic()
    running.cancel()


async def test_each_press_of_a_button_steps_a_control_that_wants_it(house, thermostat):
    class Light(thermostat):
        pressed = frozenset({"temp"})

    engine = house.engine(Light())
    for value, wakes in ((True, True), (True, True), (False, True), (False, False)):
        house.clock.at += 10
        engine.observe(house.reading("temp", value))
        assert engine.woken is wakes
        await engine.look()
    engine.observe(house.reading("temp", True))
    await engine.look()
    engine.observe(house.reading("temp", True))
    assert not engine.woken, "the same reading once more is no press"


async def test_a_command_is_told_how_old_it_is_and_for_how_long(house, thermostat):
    given = []

    class Light(thermostat):
        def timed_command(self, state, point, value, now, how):
            given.append(how)
            return state

    engine = house.engine(Light())
    await engine.look()
    now = house.clock.now()
    for issued, hold in ((None, None), (now.wall_ms - 90_000, 300_000), (now.wall_ms + 90_000, None)):
        command = Command("c", "room.latch", True, now, issued_at=issued, hold_ms=hold)
        await engine.point_command(command)()
    assert [(round(one.age), one.hold) for one in given[::2]] == [(0, None), (90, 300.0), (0, None)]


class Tap:
    """Asks only whether the air is below 2, and counts its steps."""

    name, inputs = "tap", frozenset({"air"})

    def __init__(self):
        self.steps = 0

    def initial(self):
        return None

    def step(self, state, view, now):
        self.steps += 1
        cold = view.points["air"].value < 2 if "air" in view.points else None
        return Step(state if cold is state else cold, (), (), now.monotonic + 3600)

    def alike(self, state, view):
        return view.points["air"].quality is Quality.GOOD and (view.points["air"].value < 2) is state

    def dump(self, state):
        return {}

    def load(self, kept):
        return None


async def test_a_reading_that_is_none_to_a_control_is_no_step(house):
    tap = Tap()
    engine = house.engine(tap)
    found = []
    for value in (9.0, 8.0, 7.0, 1.0, 0.0, -1.0, 9.0):
        engine.observe(house.reading("air", value))
        await engine.look()
        found.append(tap.steps)
    assert found == [1, 1, 1, 2, 2, 2, 3]
    engine._rules[0].state = "another"  # a command, or a meter that was swapped
    engine.observe(house.reading("air", 7.0))
    await engine.look()
    assert tap.steps == 4
    house.clock.at += 3600
    await engine.look()
    assert tap.steps == 5, "it was due"
    engine.observe(house.reading("air", 6.0, Quality.STALE))
    await engine.look()
    assert tap.steps == 6
