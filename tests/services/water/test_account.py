"""What a water point tells of itself: the litres of the day, of the day before, and of its flushes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.control.calendar import Calendar
from agent.core.hub import Policy
from agent.model import Kind
from agent.services.water.control import Flush, WaterPoint
from agent.services.water.valve import Valve
from agent.site.build import build_settings
from agent.site.loader import load
from tests.services.water.bench import Bench

H = 3600.0
FOUNTAIN = WaterPoint("fountain", "ct", Calendar("Europe/Paris"), pulse=10.0, valve=Valve("ev1"))
SITE = Path(__file__).parents[2] / "cases" / "saint-seine.yaml"


def told(one: Bench) -> dict[str, float]:
    return {name.removeprefix("fountain."): value for name, value in one.control.figures(one.state).items()}


def test_litres_of_the_day_and_of_the_day_before() -> None:
    one = Bench(FOUNTAIN, "2026-10-24T00:00:00", {"ev1": False})  # the next day has 25 hours
    assert told(one) == {}
    one.set("ct", 1000)
    one.pulses("ct", 100.0, 5, 30 * H, 1000)
    one.until(12 * H + 10)
    assert told(one) == {"today": 1200}
    one.restart()
    one.until(24 * H + 1)
    assert told(one) == {"today": 0, "yesterday": 2390}
    one.until(49 * H + 1)
    assert told(one) == {"today": 0, "yesterday": 600}


def test_a_day_that_the_box_was_off_is_not_told() -> None:
    one = Bench(FOUNTAIN, "2026-07-01T12:00:00", {"ev1": False})
    one.set("ct", 1000)
    one.set("ct", 1200)
    one.reboot(36 * H)
    one.set("ct", 1300)
    assert told(one) == {"today": 100}


def test_a_meter_that_is_swapped_is_no_draw_of_the_day() -> None:
    one = Bench(FOUNTAIN, "2026-07-01T12:00:00", {"ev1": False})
    one.set("ct", 1000)
    one.set("ct", 1200)
    assert one.control.swapped(one.state, "other", 5.0) is None
    one.state = one.control.swapped(one.state, "ct", 5.0)
    one.set("ct", 5)
    one.set("ct", 25)
    assert told(one) == {"today": 220} and not one.events


def test_litres_of_all_flushes() -> None:
    one = Bench(replace(FOUNTAIN, flush=Flush(24 * H, 180.0)), "2026-07-01T12:00:00", {"ev1": False})
    one.set("ct", 1000)
    for begun in (24 * H, 48 * H + 180):
        one.until(begun + 60)
        one.set("ct", one.points["ct"].value + 30)
        one.until(begun + 181)
    assert told(one)["flushed"] == 60
    one.state = one.control.load({k: v for k, v in one.control.dump(one.state).items() if k != "flushed_litres"})
    assert told(one)["flushed"] == 0, "what an earlier version kept is taken up"


@pytest.mark.parametrize("personal", [[], ["fountain-ct"]])
def test_points_and_what_of_a_person_stays_here(personal: list[str]) -> None:
    site = load(SITE)
    privacy = site.privacy.model_copy(update={"personal": tuple(personal)})
    found = build_settings(site.model_copy(update={"privacy": privacy}))
    (fountain,) = (one for one in found.controls if one.name == "fountain")
    assert [(one.id, one.unit, one.kind) for one in fountain.points] == [
        ("fountain.today", "L", Kind.TELEMETRY),
        ("fountain.yesterday", "L", Kind.TELEMETRY),
        ("fountain.flushed", "L", Kind.COUNTER),
    ]
    assert {one.device for one in fountain.points} == {"fountain"}
    assert found.personal == (
        {"fountain-ct", "gpio.17", "fountain"} if personal else set()
    ), "nor is it on the state topics"
    assert found.policies.get("fountain") == (Policy(local=True) if personal else None)
