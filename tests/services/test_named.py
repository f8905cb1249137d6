"""After a start an output that no control names is released: so a control names each output that it ever moves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.control.api import Now, View
from agent.services.rules.build import moved_by_services
from agent.site.build.found import read
from agent.site.loader import load

ROOT = Path(__file__).parents[2]
SITES = sorted((ROOT / "config").glob("*.yaml"))


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
@pytest.mark.parametrize("knows_the_time", [True, False])
def test_each_output_of_a_service_is_named_at_the_first_step(path: Path, knows_the_time: bool) -> None:
    """By its inputs or by its wishes, also while nothing was read and the time is not known."""
    settings = read(path, path).settings
    assert settings is not None
    now = Now(100.0, datetime(2027, 1, 15, 12, tzinfo=UTC) if knows_the_time else None, knows_the_time)
    named: set[str] = set()
    for control in settings.controls:
        step = control.step(control.initial(), View({}, {}), now)
        named |= control.inputs | {wish.actuator for wish in step.wishes}
    moved = moved_by_services(load(path)) & {actuator.name for actuator in settings.actuators}
    assert moved <= named
