"""Alarms, last values for dashboards, and a line for systemd from a running agent.

Figures about people do not leave the box.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.core.alarms import GatewayCondition
from agent.core.hub import Hub
from agent.model import BusState, Event, Instant, LinkState, Severity

__all__ = ["bus_health", "conditions", "discreet", "one_line", "present_points", "state_topics"]

CLOCK_PATIENCE, DEVICE_PATIENCE, LINK_PATIENCE, LOAD_PATIENCE = 600.0, 30.0, 300.0, 60.0
"""Seconds that an unknown time, a silent device, a link that is down and a line that is asked too much may last before
they are alarms."""


_SILENT = "nothing was heard of it for three of its intervals"
_NOT_YET = {"reason": "as before the start: nothing is known of it yet"}


def conditions(
    fault: str | None, written: bool, trusted: bool, buses: Sequence[Mapping[str, Any]], uplink: Any
) -> Iterator[GatewayCondition]:
    """The conditions of the gateway itself, those that cannot be determined yet first.

    `fault` is the flash's, which was `written` since the start or not; `uplink` is None for a site without one.
    """
    if fault:
        yield GatewayCondition("disk_full", "gateway", Severity.MAJOR, {"reason": fault})
    elif not written:
        yield _not_known("disk_full", "gateway")
    if not trusted:
        yield GatewayCondition("clock_untrusted", "gateway", Severity.MINOR, {}, lasts=CLOCK_PATIENCE)
    for bus in buses:
        yield from _of_bus(bus)
    if uplink is not None:
        yield from _of_uplink(uplink)


def _of_bus(bus: Mapping[str, Any]) -> Iterator[GatewayCondition]:
    yield from (_not_known("device_lost", device) for device in bus.get("unheard", ()))
    yield from (_not_known("points_refused", device) for device in bus.get("unread", ()))
    if "in_vain" in bus:  # it asks until it is heard
        yield from (_not_known("join_in_vain", device) for device in (*bus["unheard"], *bus["lost"]))
    if bus.get("overloaded", False) is None:
        yield _not_known("line_overloaded", bus["name"])
    for device in bus.get("lost", ()):
        detail = {"bus": bus["name"], "reason": bus.get("said", {}).get(device) or bus["error"] or _SILENT}
        yield GatewayCondition("device_lost", device, Severity.MAJOR, detail, lasts=DEVICE_PATIENCE)
    for device, reason in bus.get("in_vain", {}).items():
        yield GatewayCondition("join_in_vain", device, Severity.MAJOR, {"bus": bus["name"], "reason": reason})
    for device, points in bus.get("refused", {}).items():
        detail = {"bus": bus["name"], "points": ", ".join(points), "reason": next(iter(points.values()))}
        yield GatewayCondition("points_refused", device, Severity.MINOR, detail, lasts=DEVICE_PATIENCE)
    if bus.get("overloaded"):
        detail = {"load": bus["load"], "stretch": bus["stretch"]}
        yield GatewayCondition("line_overloaded", bus["name"], Severity.MINOR, detail, lasts=LOAD_PATIENCE)


def _of_uplink(uplink: Any) -> Iterator[GatewayCondition]:
    yield from (_not_known(code, subject) for code, subject in uplink.not_known())
    link = uplink.status()
    if link["state"] != LinkState.CONNECTED:
        yield GatewayCondition("link_down", "uplink", Severity.MINOR, {"reason": link["error"]}, lasts=LINK_PATIENCE)
    if uplink.duplicate_client.is_likely:
        yield GatewayCondition("identity_taken", "uplink", Severity.MAJOR, {"reason": uplink.duplicate_client.reason})
    for name, days in uplink.certificates.expiring().items():
        yield GatewayCondition("certificate_expiring", name, Severity.MAJOR, {"days_left": days})
    lacks = uplink.shortcomings()
    if "retain" in lacks:
        reason = "status and state are not retained: who subscribes later waits for the next one"
        yield GatewayCondition("uplink_no_retain", "uplink", Severity.MINOR, {"reason": reason})
    if "qos" in lacks:
        reason = "the broker has read what it confirms, but has not promised to keep it"
        yield GatewayCondition("uplink_qos_0", "uplink", Severity.MINOR, {"reason": reason})


def _not_known(code: str, subject: str) -> GatewayCondition:
    """The condition that may be wrong, as before the start; where it is known to be, the same comes once more."""
    return GatewayCondition(code, subject, Severity.INFO, _NOT_YET, known=False)


def bus_health(bus: Mapping[str, Any]) -> dict[str, Any]:
    """The health message's entry of a bus."""
    return {key: bus[key] for key in ("state", "load", "stretch") if key in bus}


def discreet(event: Event, personal: frozenset[str]) -> Event:
    """The event as it may leave the box: of a personal device, signal or water point it says what happened, not how
    much. Volumes, indexes and other numbers, a value and words made of it stay in the journal."""
    if event.subject not in personal or not event.detail:
        return event
    told = event.detail.items()
    kept = {key: value for key, value in told if isinstance(value, bool | str) and key not in ("text", "value")}
    return replace(event, detail=kept or None)


def state_names(hub: Hub, personal: frozenset[str], actuators: bool) -> set[str]:
    """The names that `state_topics` may ever have, of all that the hub knows now."""
    names = {point.device for name, point in hub.points.items() if not personal & {name, point.device}}
    return names | {"actuators"} if actuators else names


def state_topics(
    hub: Hub, personal: frozenset[str], actuators: Sequence[Mapping[str, Any]], wall_ms: int | None
) -> dict[str, dict[str, Any]]:
    """Last values for dashboards, a topic a device (`state/{device}`, `state/signals`, `state/actuators`)."""
    topics: dict[str, dict[str, Any]] = {}
    for name, point in hub.points.items():
        reading, device = hub.last.get(name), point.device
        if reading is None or name in personal or device in personal:
            continue
        topic = topics.get(device) or topics.setdefault(device, {"at": None})
        short = name.removeprefix(f"{device}.")
        topic[short], topic[f"{short}_quality"] = reading.value, reading.quality
        topic["at"] = max(topic["at"] or 0, reading.at.wall_ms or 0) or None
    values = {item["name"]: item["value"] for item in actuators}
    if values:
        topics["actuators"] = {**values, "at": wall_ms}
    return topics


def present_points(hub: Hub, now: Instant) -> list[dict[str, Any]]:
    """Every point that is read: its last value, and its age in seconds (None: of an earlier boot, or not yet read)."""
    points = []
    for name, point in hub.points.items():
        if point.moves:
            continue
        reading = hub.last.get(name)
        age = None
        if reading is not None and reading.at.boot == now.boot:
            age = round((now.boottime_ns - reading.at.boottime_ns) / 1e9, 3)
        points.append(
            {
                "id": name,
                "device": point.device,
                "value": reading.value if reading else None,
                "unit": point.unit,
                "kind": point.kind,
                "quality": reading.quality if reading else None,
                "age_s": age,
            }
        )
    return points


def one_line(buses: Sequence[Mapping[str, Any]], link: str, waiting: Mapping[str, Any]) -> str:
    """The line that `systemctl status` shows."""
    up = sum(1 for bus in buses if bus["state"] == BusState.UP)
    hours = "" if waiting["hours_left"] is None else f", {waiting['hours_left']:.0f} h left"
    return f"{up}/{len(buses)} buses up; uplink {link}; {waiting['rows']} readings waiting{hours}"
