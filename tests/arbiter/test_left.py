"""An output that left the site file: it is ours until it is safe and that is on record."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.arbiter import ActuatorSpec
from agent.arbiter.orphans import Orphans
from agent.clock import SystemClock
from agent.core.state import State
from agent.errors import WireError
from agent.model import Event
from drivers.api import BusSpec, DeviceSpec

PROFILE = {"points": {"relay1": {"register": "coil", "address": 0, "type": "bool", "writable": True}}}
BUSES = {
    "plant": BusSpec("plant", "modbus_tcp", {"host": "10.0.0.1"}, [DeviceSpec("m", {"unit_id": 1}, PROFILE)]),
}


@pytest.mark.parametrize("moment", ["written", "told"])
async def test_a_kill_just_after_it_was_made_safe_costs_no_record(tmp_path: Path, moment: str) -> None:
    """What a kill in the middle leaves on flash is taken up by another life: it writes once more, and tells."""
    state, dead, writes, told = State.open(tmp_path / "state"), tmp_path / "dead", [], []

    def die(at: str) -> None:
        if at == moment and not dead.exists():
            shutil.copytree(tmp_path / "state", dead)

    async def write(bus: BusSpec, point: str, value: Any) -> None:
        writes.append((point, value))
        die("written")

    async def tell(event: Event) -> None:
        die("told")  # it is not durable yet
        told.append((event.subject, event.detail["cause"]))

    def life(state: State) -> Orphans:
        return Orphans(state.scope("outputs"), write, tell, SystemClock())

    life(state).take_up(BUSES, [ActuatorSpec("lamp", "m.relay1")], lambda renamed: None)
    orphans = life(state)
    orphans.take_up(BUSES, [], lambda renamed: None)
    (untried,) = orphans.conditions()
    assert (untried.code, untried.subject, untried.known) == ("output_orphaned", "lamp", False)
    await orphans.settle()
    assert [one.known for one in orphans.conditions()] == [], "it is safe"
    assert not life(state).any and state.get("outputs.owned") == []

    writes.clear()
    told.clear()
    after = life(State.open(dead))
    after.take_up(BUSES, [], lambda renamed: None)
    await after.settle()
    assert (writes, told) == ([("m.relay1", False)], [("lamp", "it left the site file")])
    assert State.open(dead).get("outputs.owned") == []


async def test_an_output_of_a_bus_that_is_down_has_not_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its driver cannot be used, so its points are not known: that is no reason to say that it left the file."""

    async def write(*_: Any) -> None:
        raise WireError("no driver")

    async def tell(_event: Event) -> None: ...

    orphans = Orphans(State.open(tmp_path).scope("outputs"), write, tell, SystemClock())
    orphans.take_up(BUSES, [ActuatorSpec("m.relay1", "m.relay1")], lambda renamed: None)
    down = replace(BUSES["plant"], fault="no module", devices=[replace(BUSES["plant"].devices[0], profile=None)])
    orphans.take_up({"plant": down}, [], lambda renamed: None)
    await orphans.settle()
    assert [record.getMessage().partition(" actuator=")[0] for record in caplog.records] == [
        "output of a bus that is down is not safe"
    ]
