"""What the site file says of lighting, as its controls and contactors have it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.services.lighting import build
from agent.services.lighting.control import Circuit
from agent.services.lighting.lamps import Lamps
from agent.services.lighting.photocell import Photocell
from agent.site.build import build_settings
from agent.site.loader import load
from agent.site.models.site import Site

CASE = Path(__file__).parents[2] / "cases" / "saint-seine.yaml"


def controls(site):
    return build.controls(site, site.lighting)


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Site]:
    def make(*changes: tuple[str, str]) -> Site:
        text = CASE.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "site.yaml").write_text(text, encoding="utf-8")
        return load(tmp_path / "site.yaml")

    return make


def circuits(site: Site) -> list[Circuit]:
    return [one for one in controls(site) if isinstance(one, Circuit)]


def test_two_circuits(site: Callable[..., Site]) -> None:
    street, church = circuits(site())
    assert (street.name, street.actuator, street.power) == ("main-street", "km1", "meter-a.active_power")
    assert street.lamps == Lamps(1800, 30, hid=False, downstream=True) and street.voltages == ("meter-a.voltage",)
    assert street.photocell == Photocell("lux", 10, 20, 300, 1800)
    assert (street.manual_on, street.manual_off, street.dimmer) == ("io-1.di5", "io-1.di6", None)
    assert church.lamps.hid and church.voltages == tuple(f"meter-b.voltage_l{phase}" for phase in (1, 2, 3))
    assert (church.programme.start_delay, street.programme.start_delay) == (10, 0)
    assert street.inputs == {"km1", "km2", "lux", "io-1.di5", "io-1.di6", "meter-a.active_power", "meter-a.voltage"}


def test_a_dimmed_circuit(site: Callable[..., Site]) -> None:
    levels = 'dimming: {actuator: dim1, levels: [{from: "22:00", to: "06:00", level: 50 %}]}'
    changes = [
        ("      start_delay: 10s", f"      {levels}"),
        ("  burner: {", "  dim1: {output: io-3.relay2}\n  burner: {"),
    ]
    church = circuits(site(*changes))[1]
    assert church.dimmer == "dim1" and [part.level for part in church.programme.levels] == [50]


def test_what_the_law_keeps_dark_until_sunset_is_not_lit_early(site: Callable[..., Site]) -> None:
    assert [one.never_early for one in circuits(site())] == [False, True]
    allowed = site(("kind: heritage", 'kind: heritage\n      legal_reference: "arrêté municipal 12"'))
    assert [one.never_early for one in circuits(allowed)] == [False, False]


LIMITS = "min_on: 15min, min_off: 15min, max_starts_per_hour: 4"


def test_contactors_of_lamps_have_limits_unless_the_file_says_others(site: Callable[..., Site]) -> None:
    changes = [(LIMITS, "min_on: 2min"), (LIMITS, "min_off: 20min")]
    found = {one.name: one for one in build_settings(site(*changes)).actuators}
    assert [(found[name].min_on, found[name].min_off, found[name].max_starts_per_hour) for name in ("km1", "km2")] == [
        (120, 60, 4), (900, 1200, 4),
    ]  # fmt: skip
    assert circuits(site(*changes))[0].programme.min_on == 120
    hid = {
        one.name: one
        for one in build_settings(site((LIMITS, LIMITS), (LIMITS + "}\n  pump", "min_on: 15min}\n  pump"))).actuators
    }
    assert hid["km2"].min_off == 900 and found["pump"].min_on is None
