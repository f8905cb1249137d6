"""Answer the command line's requests to the running agent (`agent.runtime.socket`)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from agent.core.trial import spec_of
from agent.errors import BocageError
from agent.lib.secret import hand_over
from agent.model import Command, Origin
from agent.runtime.parts import Parts
from agent.runtime.report import outcome_json, points_json
from agent.runtime.socket import Handler
from agent.runtime.why import explain

__all__ = ["Requests"]

log = logging.getLogger("bocage.app")


class Requests:
    """Answers requests; `handlers` has them by name. BocageError for a request that cannot be carried out.

    `status` returns the status document; `reload` reads the site file again and returns the verdict.
    """

    def __init__(
        self,
        parts: Parts,
        status: Callable[[], dict[str, Any]],
        reload: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        self._parts, self._status, self._reload = parts, status, reload
        self.handlers: dict[str, Handler] = {
            "status": self._on_status,
            "read": self._on_read,
            "write": self._on_write,
            "scan": self._on_scan,
            "inspect": self._on_inspect,
            "reload": self._on_reload,
            "try": self._on_try,
            "why": self._on_why,
        }

    async def _on_status(self, _request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        return self._status()

    async def _on_read(self, request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        wanted = request.get("points") or []
        if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
            raise BocageError('expected "points": a list of names')
        hub, settings = self._parts.hub, self._parts.settings
        return points_json(wanted, hub.points, hub.last, settings.outputs, settings.timezone)

    async def _on_write(self, request: Mapping[str, Any], who: str) -> Mapping[str, Any]:
        point, hold = request.get("point"), request.get("hold_ms")
        if not isinstance(point, str) or not isinstance(hold, int | None):
            raise BocageError('expected "point": text and "hold_ms": a whole number of milliseconds')
        command = Command(
            id=f"local-{uuid4().hex}",
            point=point,
            value=request.get("value"),
            received=self._parts.clock.now(),
            hold_ms=hold,
            origin=Origin.LOCAL,
            by=who,
        )
        outcome = await self._parts.arbiter.submit(command)
        log.info('local write point=%s value=%s by="%s" outcome=%s', point, command.value, who, outcome.state)
        return outcome_json(outcome)

    async def _on_scan(self, request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        """Scan one unit id of a bus."""
        bus, unit, timeout = request.get("bus"), request.get("unit_id"), request.get("timeout")
        if not isinstance(bus, str) or not isinstance(unit, int) or not isinstance(timeout, int | float | None):
            raise BocageError('expected "bus": text, "unit_id": a whole number and "timeout": seconds')
        if not 0 <= unit <= 255:
            raise BocageError("unit id must be 0 to 255")
        if timeout is not None and not 0 < timeout <= 10:
            raise BocageError("timeout must be more than 0 s and at most 10 s")
        return await self._parts.buses.scan(bus, unit, timeout)

    async def _on_inspect(self, request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        return {"rows": self._parts.buses.inspect(str(request.get("topic")))}

    async def _on_try(self, request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        """Read the devices of a bus of a site file, which need not be the one that runs.

        `owner` is the agent's bus on that port or host, if there is one; `differs` are the devices that the agent has
        otherwise (None: the bus itself differs); `tried` is what was read.
        """
        bus = spec_of(request.get("bus"))
        owner = self._parts.buses.owner(bus)
        tried = await self._parts.buses.try_devices(owner, bus.devices) if owner and bus.devices else []
        return {"owner": owner, "differs": self._parts.buses.runs(request["bus"]), "tried": tried}

    async def _on_why(self, request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        name = request.get("name")
        if not isinstance(name, str) or not name:
            raise BocageError('expected "name": an actuator or a service')
        return await explain(self._parts, name)

    async def _on_reload(self, request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        """Read the site file again, and return the verdict.

        `credentials` and `environment` are secrets by name that are newer than those of systemd.
        """
        file = request.get("file")
        if not isinstance(file, str | None):
            raise BocageError('expected "file": the path of a site file')
        if file is not None and not self._parts.configuration.is_read_from(Path(file)):
            raise BocageError(f"the agent runs {self._parts.configuration.path}, not {file}")
        handed = _texts(request, "credentials") if "credentials" in request else None
        hand_over(handed, _texts(request, "environment"))
        return await self._reload()


def _texts(request: Mapping[str, Any], key: str) -> dict[str, str]:
    found = request.get(key) or {}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise BocageError(f'expected "{key}": texts by name')
    return found
