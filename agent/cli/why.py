"""`bocage why`: why an output or a service is as it is, what holds it, and what comes next."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from agent import BUILT
from agent.cli.common import add_command, add_folders, add_json, asked, own_place
from agent.errors import BocageError
from agent.lib.screen import shown, shown_json
from agent.lib.timetext import local_text, site_text
from agent.outbox.backlog_reader import export_events
from agent.runtime.socket import connect

__all__ = ["add"]

_SECONDS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_LIMITS = {"min_on": "on for at least", "min_off": "off for at least", "max_on": "on for at most"}


def add(commands: Any) -> None:
    why = add_command(
        commands,
        "why",
        "explain why an output or a service is as it is, and what comes next",
        "  bocage why site.yaml km1                  an actuator: who holds it, and why\n"
        "  bocage why site.yaml main-street          a circuit, a water point, a zone, a rule: all that it moves\n"
        "  bocage why site.yaml km1 --at 2026-01-15T23:10    what held it then, by the audit that is on this box",
    )
    add_folders(why)
    why.add_argument("name", metavar="NAME", help="an actuator, its output, a circuit, a tank, a zone, a rule …")
    past = "of an actuator or its output: a moment that is past, in site time: 2026-01-15T23:10"
    why.add_argument("--at", metavar="TIME", help=past)
    add_json(why)
    why.set_defaults(run=run_why)


def run_why(options: argparse.Namespace) -> int:
    """0 where there is an answer; NoAgent if none is running and no moment of the past is asked for."""
    if options.at is not None:
        return _past(options)
    answer = asyncio.run(_ask(options))
    print(shown_json(answer, indent=2) if options.json else "\n".join(map(shown, _lines(answer))))
    return 0


async def _ask(options: argparse.Namespace) -> dict[str, Any]:
    async with connect(*asked(options)) as agent:
        return await agent.request({"do": "why", "name": options.name})


# -- now -------------------------------------------------------------------------------------------------------


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    zone = ZoneInfo(answer["timezone"])
    for one in answer["actuators"]:
        yield from _actuator(one, answer["at"], zone)
    for control in answer["controls"]:
        yield from _control(control)
    for alarm in answer["alarms"]:
        since = f" since {local_text(alarm['since'], zone)}" if alarm["since"] else ""
        yield f"alarm {alarm['code']} {alarm['subject']} ({alarm['severity']}){since}"


def _actuator(one: Mapping[str, Any], at: str | None, zone: ZoneInfo) -> Iterator[str]:
    since = local_text(one["since"], zone)
    took = f" ({_ago(at, since)})" if at and since else ""
    is_level = isinstance(one["value"], int | float) and not isinstance(one["value"], bool)
    went = f", {'on' if one['value'] else 'off'}" if is_level else ""  # of a level it is known since when it is not 0
    yield f"{one['name']} is {_said(one['value'])}" + (f"{went} since {since}{took}" if since else "")
    if one["cause"]:
        ends = f", until {local_text(one['until'], zone)}" if one["until"] else ""
        by = f", by {one['by']}" if one["by"] not in ("", "control") else ""
        yield f"  because of priority {one['priority']}: {one['cause']}{by}{ends}"
    else:
        yield "  no control and no command holds it"
    for entry in one["array"][1:]:
        ends = f", until {local_text(entry['until'], zone)}" if entry["until"] else ""
        yield f"  then would come priority {entry['priority']}: {_said(entry['value'])}, {entry['cause']}{ends}"
    if one["feedback"] is not None:
        yield f"  its feedback reads {_said(one['feedback'])}"
    if one["state"] not in ("steady", "unknown"):
        yield f"  {one['state']}"
    if one["value"] is None:
        yield "  its output was not read yet, or the last write was not acknowledged"
    if one["wanted"] is not None and one["wanted"] != one["value"]:
        yield f"  wanted: {_said(one['wanted'])}"
    if one["overrun"]:
        yield "  it was on for max_on, and stays off until its holder wants it off"
    for name, value in one["limits"].items():
        yield f"  limit {name}: {_LIMITS[name]} {_duration(value)}" if name in _LIMITS else f"  limit {name}: {value}"


def _control(control: Mapping[str, Any]) -> Iterator[str]:
    yield f"{control['name']} decides" if control["wishes"] else f"{control['name']} moves nothing now"
    if control["failed"]:
        yield f"  it failed, an error of the program: {control['failed']}"
    for one in control.get("tells", ()):
        unit = f" {one['unit']}" if one["unit"] else ""
        yield f"  {one['point']} is {_said(one['value'])}{unit}"
    for one in control.get("commands", ()):
        ends = f", until {one['until']}" if one["until"] else ""
        yield f"  command {one['point']} {_said(one['value'])}{ends}"
    for wish in control["wishes"]:
        yield f"  wishes {wish['actuator']} {_said(wish['value'])} at priority {wish['priority']}: {wish['cause']}"
    for one in control["inputs"]:
        yield f"  looks at {_input(one)}"
    if fills := control.get("fills"):
        tariff = "" if fills["tariff"] is None else f", tariff {fills['tariff']}"
        yield f"  fills from {fills['start']:g} % to {fills['stop']:g} %{tariff}"
    for one in control.get("counting", ()):
        since = f", since {one['since']}" if one["since"] else ""
        yield f"  counts: {_duration(one['counted_s'])} of {_duration(one['needs_s'])}{since}"
    for coming in control["next"]:
        when = coming["at"] or f"in {_duration(coming['in_s'])}"
        if "alarm" in coming:
            yield f"  next, if its inputs stay as they are: alarm {coming['alarm']}, {when}"
            continue
        what = "no wish any more" if coming["priority"] is None else f"{_said(coming['value'])}, {coming['cause']}"
        yield f"  next, if its inputs stay as they are: {coming['actuator']} {what}, {when}"
    if control["wishes"] and not control["next"]:
        yield "  no change in the next two days, if its inputs stay as they are"


def _input(one: Mapping[str, Any]) -> str:
    if not one["read"]:
        return f"{one['point']}: not read yet"
    value = f"{_said(one['value'])} {one['unit']}".strip() if one["value"] is not None else "no value"
    age = "" if one["age_s"] is None else f", read {_duration(one['age_s'])} ago"
    if one["quality"] == "good":
        return f"{one['point']}: {value}{age}"
    last = "never good" if one["age_s"] is None else f"last good {_duration(one['age_s'])} ago"
    return f"{one['point']}: {one['quality']}, {last}"


def _said(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    """The two largest units: 2h 10min."""
    left = max(0, round(seconds))
    found: list[str] = []
    for unit, size in _SECONDS:
        if left >= size and len(found) < 2:
            found.append(f"{left // size}{unit}")
            left %= size
    return " ".join(found) or "0s"


def _ago(at: str, since: str) -> str:
    return _duration((datetime.fromisoformat(at) - datetime.fromisoformat(since)) / timedelta(seconds=1))


# -- a moment of the past --------------------------------------------------------------------------------------


def _past(options: argparse.Namespace) -> int:
    from agent.site.build import written_points

    where = own_place(options)
    timezone = where.site.site.timezone
    at = _moment(options.at, timezone)
    outputs = {actuator.output: name for name, actuator in where.site.actuators.items()}
    name = outputs.get(options.name, options.name)
    if name not in {*where.site.actuators, *(one.point for one in written_points(where.site))}:
        raise BocageError(f'"{options.name}" is no actuator of {options.site}: the audit is about outputs')
    recorded = [one for one in export_events(where.state, where.runtime) if _is_change(one, name)]
    changes = [one for one in recorded if one["t"] is not None]
    if _is_ahead(at) and not any(one["t"] > at for one in changes):
        raise BocageError(f"{site_text(at, timezone)} is in the future; without --at, why says what comes next")
    undated = len(recorded) - len(changes)
    before = [one for one in changes if one["t"] <= at]
    after = next((one for one in changes if one["t"] > at), None)
    found = before[-1] if before else None
    if options.json:
        answer = {"name": name, "at": site_text(at, timezone), "change": found, "next": after, "undated": undated}
        print(shown_json(answer, indent=2))
        return 0 if found else 1
    if found is None:
        print(shown(f"{name}: no audit record on this box is from before {site_text(at, timezone)}"))
        print("what the broker has accepted is at the supervision: topic event, kind audit")
    else:
        detail = found["detail"]
        print(shown(f"{name} was {_said(detail['to'])} since {site_text(found['t'], timezone)}"))
        by = f", by {detail['by']}" if detail["by"] else ""
        print(shown(f"  because of priority {detail['priority']}: {detail['cause']}{by}"))
    if after is not None:
        detail = after["detail"]
        if found is None and detail["from"] is not None:
            print(shown(f"just before its first record here {name} was {_said(detail['from'])}"))
        print(shown(f"  then {_said(detail['to'])} at {site_text(after['t'], timezone)}: {detail['cause']}"))
    if undated:
        records = "1 more record is" if undated == 1 else f"{undated} more records are"
        print(shown(f"{records} from a time that is not known: before or after that"))
    return 0 if found else 1


def _is_change(event: Mapping[str, Any], name: str) -> bool:
    return (event["kind"], event["code"], event["subject"]) == ("audit", "output", name)


def _is_ahead(at: float) -> bool:
    """Whether a moment (Unix ms) is in the future, as far as the clock of this box can be believed."""
    now = datetime.now(UTC)
    return now > datetime.fromisoformat(BUILT).replace(tzinfo=UTC) and at > now.timestamp() * 1000


def _moment(text: str, timezone: str) -> float:
    """Unix ms."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BocageError(f'"{text}" is not a moment; write one such as 2026-01-15T23:10') from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=ZoneInfo(timezone))).timestamp() * 1000
