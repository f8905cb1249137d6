"""A tank with several pumps. What flows, and what the level does, the test says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.control.api import Accounts, View
from agent.model import Quality
from agent.services.water.pump import DryRun, PumpSpec
from agent.services.water.rotation import Rotation
from agent.services.water.tank_level import Standstill
from agent.services.water.tanks import Group, Tank
from tests.services.water.bench import Bench

H = 3600.0
FLOW = DryRun("flow", least=0.2)


def tank(*pumps: PumpSpec, both_below: float | None = None, alternate: str = "hours") -> Tank:
    pumps = pumps or (PumpSpec("p1"), PumpSpec("p2"))
    rotation = Rotation(tuple(pump.actuator for pump in pumps), alternate)
    return Tank("reservoir", "level", pumps, group=Group(rotation, both_below))


SHARED = tank(PumpSpec("p1", FLOW), PumpSpec("p2", FLOW))
OWN = tank(PumpSpec("p1", replace(FLOW, flow="flow1")), PumpSpec("p2", replace(FLOW, flow="flow2")))
HOT = tank(PumpSpec("p1", thermal="hot1"), PumpSpec("p2", thermal="hot2"))
SERVICED = tank(PumpSpec("p1", maintenance="key1"), PumpSpec("p2", maintenance="key2"))


def bench(control: Tank, level: float = 30.0, **points: float) -> Bench:
    one = Bench(control, "2026-07-01T12:00:00", {"p1": False, "p2": False})
    for name, value in {**points, "level": level}.items():
        one.set(name, value)
    return one


def fill(one: Bench, seconds: float) -> set[str]:
    """One fill and ten minutes; which pumps ran at its end."""
    one.until(one.t + 600)
    one.set("level", 30)
    one.until(one.t + seconds)
    found = running(one)
    one.set("level", 85)
    return found


def running(one: Bench) -> set[str]:
    return {name for name, output in one.outputs.items() if output.value}


def alarms(one: Bench, code: str) -> list[tuple[float, str]]:
    return one.of(code)


# -- turns -----------------------------------------------------------------------------------------------------


def test_each_fill_is_for_the_pump_with_the_fewest_hours() -> None:
    one = bench(tank(), level=85)
    assert [fill(one, hours * H) for hours in (2, 1, 0.5, 2)] == [{"p1"}, {"p2"}, {"p2"}, {"p2"}]
    assert isinstance(one.control, Accounts)
    assert one.control.figures(one.state) == {
        "p1.run_hours": 2.0, "p1.starts": 1, "p2.run_hours": 3.5, "p2.starts": 3,
    }  # fmt: skip
    assert {point.id for point in one.control.points} == one.control.figures(one.state).keys()


@pytest.mark.parametrize("reboot", [False, True])
def test_hours_and_starts_outlive_a_restart_and_a_power_cut(reboot: bool) -> None:
    one = bench(tank(), level=85)
    fill(one, 2 * H)
    one.reboot(3000) if reboot else one.restart()
    assert fill(one, H) == {"p2"}
    assert one.control.figures(one.state) == {  # type: ignore[attr-defined]
        "p1.run_hours": 2.0, "p1.starts": 1, "p2.run_hours": 1.0, "p2.starts": 1,
    }  # fmt: skip


@pytest.mark.parametrize("reboot", [False, True])
def test_a_restart_in_the_middle_of_a_fill_is_no_changeover(reboot: bool) -> None:
    one = bench(tank(), level=85)
    fill(one, H)
    one.until(one.t + 600)
    one.set("level", 30)
    one.until(one.t + 2 * H)
    assert running(one) == {"p2"}, "by now it has more hours"
    one.reboot(600) if reboot else one.restart(heard=False)
    one.until(one.t + 1800)
    assert running(one) == {"p2"} and {name for _, name, value, _ in one.edges[-2:] if value} <= {"p2"}


def test_all_pumps_at_a_low_level_up_to_where_a_fill_begins() -> None:
    one = bench(tank(both_below=15), level=60)
    seen = []
    for level in (41, 40, 15.1, 15, 20, 39.9, 40, 60, 85):
        one.until(one.t + 600)
        one.set("level", level)
        seen.append(len(running(one)))
    assert seen == [0, 1, 1, 2, 2, 2, 1, 1, 0]


# -- who takes over --------------------------------------------------------------------------------------------


def test_a_pump_that_does_not_run_hands_over_and_is_an_alarm_until_it_has_run() -> None:
    one = bench(tank())
    one.broken = {"p1"}
    one.until(59)
    assert running(one) == set()
    one.until(2 * H)
    assert running(one) == {"p2"} and alarms(one, "pump_failed") == [(60.0, "alarm")]
    one.broken = set()
    one.set("level", 85)
    one.until(3 * H)
    one.set("level", 30)
    one.until(3 * H + 61)
    assert running(one) == {"p1"} and alarms(one, "pump_failed")[-1] == (3 * H + 60, "cleared")
    assert alarms(one, "pumps_failed") == []


def test_both_failed_is_critical_and_each_is_still_tried() -> None:
    one = bench(tank())
    one.broken = {"p1", "p2"}
    one.until(3 * H)
    assert alarms(one, "pumps_failed") == [(180.0, "alarm")] and len(alarms(one, "pump_failed")) == 2
    one.broken = {"p2"}
    one.until(4 * H)
    assert running(one) == {"p1"}
    assert [kind for _, kind in alarms(one, "pumps_failed")] == ["alarm", "cleared"]


def test_a_dry_pump_hands_over_at_once_and_its_latch_is_its_own() -> None:
    one = bench(OWN, flow1=0.0, flow2=5.0)
    one.until(45)
    assert running(one) == {"p2"} and alarms(one, "dry_run") == [(45.0, "alarm")]
    one.until(H)
    assert running(one) == {"p2"}, "no changeover back in the same fill"
    for _ in range(2):
        one.override("p2", False)
        one.until(one.t + 100)
        one.override("p2", None)
        one.until(one.t + 400)
    assert one.state.pumps[0].latched is False or one.outputs["p1"].priority == 2
    assert one.control.commands == ("reservoir.latch", "p1.latch", "p2.latch")


@pytest.mark.parametrize("restart", [False, True])
def test_a_latch_is_told_although_the_alarm_is_open_already(restart: bool) -> None:
    one = bench(OWN, flow1=0.0, flow2=5.0)
    alone = Bench(Tank("reservoir", "level", (PumpSpec("p1", FLOW),)), "2026-07-01T12:00:00", {"p1": False})
    alone.set("flow", 0.0)
    alone.set("level", 30)
    one.override("p2", False)
    for rig, subject in ((one, "p1"), (alone, "reservoir")):
        rig.until(H / 10)
        assert rig.control.latched(rig.state) == [], "an open alarm is not latched at its first trip"
        if restart:
            rig.restart()
        rig.until(H)
        assert rig.control.latched(rig.state) == [("dry_run", subject)]
        told = [(kind, detail) for (_, kind, code), detail in zip(rig.events, rig.details, strict=True)
                if code == "dry_run"]  # fmt: skip
        assert told == [("alarm", {"latched": False}), ("change", {"latched": True})]
        rig.reboot(600)
        rig.command("reservoir.latch", "reset")
        assert rig.control.latched(rig.state) == []
        assert [kind for _, kind in rig.of("dry_run")] == ["alarm", "change", "cleared"]


def test_a_latched_pump_stays_off_against_commands_until_its_own_reset() -> None:
    one = bench(OWN, flow1=0.0, flow2=0.0)
    one.until(H)
    assert [pump.latched for pump in one.state.pumps] == [True, True]
    assert alarms(one, "pumps_failed")[-1][1] == "alarm"
    one.override("p1", True)
    assert one.outputs["p1"] == one.outputs["p1"]._replace(value=False, priority=2, cause="dry run, latched")
    one.override("p1", None)
    one.set("flow2", 5.0)
    one.command("p2.latch", "reset")
    one.until(one.t + 600)
    assert running(one) == {"p2"} and one.state.pumps[0].latched
    one.reboot(60)
    assert [pump.latched for pump in one.state.pumps] == [True, False]
    one.command("reservoir.latch", "reset")
    assert not one.state.pumps[0].latched
    assert alarms(one, "pumps_failed")[-1][1] == "cleared"


def test_a_shared_flow_judges_a_pump_only_while_it_runs_alone() -> None:
    one = bench(replace(SHARED, group=Group(Rotation(("p1", "p2")), both_below=15)), level=14, flow=5.0)
    one.until(600)
    assert running(one) == {"p1", "p2"}
    one.set("level", 41)
    one.until(610)
    assert running(one) == {"p1"}
    one.set("flow", 0.0)
    one.until(660)
    assert running(one) == {"p2"} and one.state.pumps[0].dry and not one.state.pumps[1].dry
    one.set("flow", 5.0)
    one.until(1000)
    one.set("level", 14)
    one.until(1500)
    assert running(one) == {"p1", "p2"}
    assert one.state.pumps[0].dry, "the flow may be the other's"
    one.set("flow", 0.0)
    one.until(1600)
    assert running(one) == set(), "nothing flows at all: both are dry"
    assert alarms(one, "sensor_fault") == []
    one.set("flow", 0.0, Quality.STALE)
    assert alarms(one, "sensor_fault") == [(1600.0, "alarm")], "once, and not for each pump"


def test_a_hot_motor_rests_and_comes_back_at_the_next_fill() -> None:
    one = bench(HOT, hot1=0, hot2=0)
    one.until(600)
    one.set("hot1", 1)
    assert running(one) == {"p2"} and one.outputs["p1"].cause == "thermal fault"
    one.override("p1", True)
    assert running(one) == {"p2"}, "a command does not burn a motor"
    one.override("p1", None)
    one.set("hot1", 0)
    one.until(899)
    assert one.outputs["p1"].priority == 2
    one.until(901)
    assert alarms(one, "thermal_fault") == [(600.0, "alarm"), (900.0, "cleared")]
    assert running(one) == {"p2"}
    assert fill(one, 600) == {"p2"}
    assert fill(one, 600) == {"p1"}


def test_a_pump_that_is_hot_and_latched_dry_is_latched_in_both_alarms() -> None:
    dry = tuple(replace(pump, thermal="hot") for pump in OWN.pumps)
    one = bench(replace(OWN, pumps=dry), flow1=0.0, flow2=0.0, hot=0)
    one.until(H)
    one.set("hot", 1)
    assert one.control.latched(one.state)[:2] == [("dry_run", "p1"), ("thermal_fault", "p1")]


def test_three_thermal_faults_in_an_hour_latch() -> None:
    one = bench(HOT, hot1=0, hot2=0)
    for _ in range(3):
        one.set("hot1", 1)
        one.until(one.t + 60)
        one.set("hot1", 0)
        one.until(one.t + 400)
    assert one.state.pumps[0].latched and one.outputs["p1"].cause == "thermal fault, latched"
    assert one.control.latched(one.state) == [("thermal_fault", "p1")]
    assert alarms(one, "dry_run") == [] and alarms(one, "thermal_fault")[-1][1] == "alarm"
    one.command("p1.latch", "reset")
    assert alarms(one, "thermal_fault")[-1][1] == "cleared"


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.STALE])
@pytest.mark.parametrize("restart", [False, True])
def test_a_lost_contact_frees_no_pump_that_it_held_and_holds_no_free_one(quality: Quality, restart: bool) -> None:
    one = bench(HOT, level=60, hot1=1, hot2=0)
    one.until(600)
    one.set("hot1", None, quality)
    one.set("hot2", None, quality)
    if restart:
        one.restart()
    one.set("level", 30)
    one.until(2 * H)
    assert running(one) == {"p2"}
    assert len(alarms(one, "sensor_fault")) == 2
    one.command("p1.latch", "reset")
    one.override("p2", False)
    one.until(one.t + 60)
    assert running(one) == {"p1"}, "the reset is the last word while the contact says nothing"


def test_maintenance_by_a_contact_or_by_a_command_off() -> None:
    one = bench(SERVICED, key1=0, key2=0)
    one.until(600)
    one.set("key1", 1)
    assert running(one) == {"p2"} and alarms(one, "local_manual") == [(600.0, "alarm")]
    one.override("p2", False)
    one.until(700)
    assert running(one) == set() and alarms(one, "pumps_failed") == [(660.0, "alarm")]
    one.set("key1", 0)
    assert running(one) == {"p1"} and alarms(one, "pumps_failed")[-1] == (700.0, "cleared")


def test_a_pump_on_by_command_does_the_work_of_the_other() -> None:
    one = bench(tank())
    one.until(600)
    one.override("p2", True)
    one.until(660)
    assert running(one) == {"p2"}
    one.override("p2", None)
    one.until(700)
    assert running(one) == {"p2"}
    one.set("level", 95)
    assert running(one) == set()


def test_a_pump_on_a_lost_module_hands_over_unless_its_flow_is_seen() -> None:
    one = bench(tank())
    one.until(600)
    lose(one, "p1")
    one.until(659)
    assert one.state.rotation.duty == ("p1",)
    one.until(660)
    assert one.state.rotation.duty == ("p2",)
    lose(one, "p2")
    one.until(1000)
    assert one.state.rotation.duty == ("p2",), "no pump is left: they stay as they are"
    seen = bench(SHARED, flow=5.0)
    seen.until(600)
    lose(seen, "p1")
    seen.until(1000)
    assert seen.state.rotation.duty == ("p1",), "water flows"
    seen.set("flow", 5.0, Quality.STALE)
    assert seen.state.rotation.duty == ("p2",)


@pytest.mark.parametrize("lost", ["feedback", "module"])
def test_a_feedback_that_is_not_read_is_no_proof_that_a_failed_pump_runs(lost: str) -> None:
    control = tank()
    rotation = replace(control.group.rotation, with_feedback=frozenset({"p1"} if lost == "feedback" else ()))
    one = bench(replace(control, group=Group(rotation)), level=60)
    one.override("p1", True)
    one.outputs["p1"] = one.outputs["p1"]._replace(feedback=False)  # its contactor does not close
    one.set("level", 30)
    one.override("p1", None)
    one.until(600)
    one.override("p1", True)
    assert [kind for _, kind in alarms(one, "pump_failed")] == ["alarm"]
    unread = one.now.monotonic if lost == "module" else float("inf")
    one.outputs["p1"] = one.outputs["p1"]._replace(feedback=None, unread=unread)
    one.until(1200)
    one.restart()
    one.until(1800)
    assert len(alarms(one, "pump_failed")) == 1, "what is not read is no value"
    one.outputs["p1"] = one.outputs["p1"]._replace(feedback=True, unread=float("inf"))
    one.until(2400)
    assert [kind for _, kind in alarms(one, "pump_failed")] == ["alarm", "cleared"]


def lose(one: Bench, pump: str) -> None:
    """Its module does not answer any more."""
    one.outputs[pump] = one.outputs[pump]._replace(unread=one.now.monotonic)
    one.settle()


# -- the level -------------------------------------------------------------------------------------------------


def test_a_lost_level_stops_all_pumps_and_is_no_failure_of_theirs() -> None:
    one = bench(tank())
    one.until(600)
    one.set("level", None, Quality.BAD)
    one.until(2 * H)
    assert running(one) == set() and alarms(one, "level_fault") == [(600.0, "alarm")]
    one.set("level", 30)
    one.until(2 * H + 300)
    assert len(running(one)) == 1 and alarms(one, "pumps_failed") == [] and alarms(one, "pump_failed") == []


def test_a_pump_that_does_not_raise_the_level_gives_way_before_all_are_stopped() -> None:
    one = bench(replace(tank(), standstill=Standstill(None, 8 * H)), level=39)
    one.until(9 * H)
    assert running(one) == {"p2"} and alarms(one, "fill_too_long") == [(8 * H, "alarm")]
    one.restart()
    one.until(17 * H)
    assert running(one) == set() and one.outputs["p2"].cause == "filling for too long"
    one.set("level", 36)
    one.until(18 * H)
    assert len(running(one)) == 1
    one.set("level", 39)
    assert alarms(one, "fill_too_long")[-1][1] == "cleared"


def test_a_level_that_stands_still_stops_all_pumps_at_once() -> None:
    one = bench(tank(), level=39)
    one.until(3 * H)
    assert running(one) == set() and alarms(one, "sensor_stuck") == [(3 * H, "alarm")]


# -- another file ----------------------------------------------------------------------------------------------


def test_what_was_kept_of_one_pump_is_the_first_ones() -> None:
    single = Tank("reservoir", "level", (PumpSpec("p1", FLOW),))
    one = bench(single, flow=0.0)
    one.until(2000)
    assert one.state.pumps[0].latched
    found = SHARED.load(single.dump(one.state))
    assert [pump.latched for pump in found.pumps] == [True, False]
    back = single.load(SHARED.dump(found))
    assert back.pumps[0].latched
    assert not tank().load(SHARED.dump(found)).pumps[0].latched, "without the flow nothing would end it"


def test_the_alarms_of_a_pump_that_leaves_the_file_are_cleared() -> None:
    one = bench(OWN, flow1=0.0, flow2=0.0)
    one.until(200)
    assert len(alarms(one, "dry_run")) == 2
    others = tank(PumpSpec("p2", replace(FLOW, flow="flow2")), PumpSpec("p3"))
    for control, ended in ((others, ["p1"]), (Tank("reservoir", "level", (PumpSpec("p1"),)), ["p1", "p2"])):
        step = control.step(control.load(one.control.dump(one.state)), View(one.points, one.outputs), one.now)
        cleared = [each.subject for each in step.happenings if (each.kind, each.code) == ("cleared", "dry_run")]
        assert sorted(cleared) == ended
        again = control.step(step.state, View(one.points, one.outputs), one.now)
        assert not again.happenings
