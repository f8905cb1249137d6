"""What an actuator does, who holds it and why, for people and for whoever asks the agent."""

from __future__ import annotations

from typing import Any

from agent.arbiter.actuator import Actuator
from agent.arbiter.priority_array import REMOTE
from agent.arbiter.validity import duration, iso
from agent.model import Instant

__all__ = ["line"]


def line(actuator: Actuator, now: Instant) -> dict[str, Any]:
    """One actuator as a line of `bocage watch --json`."""
    found, pending = actuator.holder(), actuator.awaited
    slot = pending or (found[1] if found else None)
    return {
        "name": actuator.spec.name,
        "output": actuator.spec.output,
        "value": actuator.output_state.present,
        "wanted": slot.value if slot else None,
        "priority": REMOTE if pending else found[0] if found else None,
        "cause": slot.cause if slot else "",
        "by": slot.by if slot else "",
        "until": iso(found[1].until, now) if found and not pending else None,
        "feedback": actuator.output_state.feedback,
        "mode": actuator.priority_array.mode,
        "writes": actuator.writes,
        "repeats": actuator.repeats,
        "state": _state(actuator, now),
    }


def _state(actuator: Actuator, now: Instant) -> str:
    mono, seen = now.boottime_ns / 1e9, actuator.output_state
    waiting = actuator.waiting
    if actuator.awaited is not None:
        waiting = actuator.may(actuator.awaited.value, REMOTE, mono)
    if not actuator.driven:
        return "not driven yet"
    if actuator.error:
        return f"failed: {actuator.error}"
    if waiting is not None and waiting[0] > mono:
        return f"waiting {waiting[1]} until {iso(waiting[0], now) or f'in {duration(waiting[0] - mono)}'}"
    if actuator.sending is not None:
        return "waiting for the node"
    if seen.mismatch:
        return "mismatch"
    if seen.present is None:
        return "unknown"
    return "moving" if seen.moving(mono) else "steady"
