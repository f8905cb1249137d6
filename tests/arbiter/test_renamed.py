"""An output that goes by another name: what is known of it is on flash together with the name itself."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from agent.arbiter import ActuatorSpec
from agent.arbiter.actuator_store import rename
from agent.arbiter.orphans import Orphans
from agent.core.state import State
from drivers.api import BusSpec, DeviceSpec

PROFILE = {"points": {"relay1": {"register": "coil", "address": 0, "type": "bool", "writable": True}}}
BUSES = {
    "plant": BusSpec("plant", "modbus_tcp", {"host": "10.0.0.1"}, [DeviceSpec("m", {"unit_id": 1}, PROFILE)]),
}


async def _never(*_: Any) -> Any:
    raise AssertionError("nothing has left")


def test_a_kill_just_after_another_name_is_on_flash_costs_no_override(tmp_path: Path) -> None:
    state = State.open(tmp_path / "state")
    state.put("arbiter.lamp", {"override": True})
    orphans = Orphans(state.scope("outputs"), _never, _never, None)  # type: ignore[arg-type]
    move = partial(rename, state.scope("arbiter"))
    for name in ("lamp", "porch"):
        orphans.take_up(BUSES, [ActuatorSpec(name, "m.relay1")], move)
        shutil.copytree(tmp_path / "state", tmp_path / name)  # as a kill at this moment leaves it
        left = State.open(tmp_path / name)
        assert left.get("outputs.owned")[0]["name"] == name
        assert left.get(f"arbiter.{name}") == {"override": True}
