"""Alarms on points: their condition, and the words that they may use."""

from __future__ import annotations

import string
from collections.abc import Mapping

from agent.services.alarms.build import info_name, is_co2
from agent.services.alarms.config import AlarmConfig
from agent.site.checks.conditions import check_condition, check_subject
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.language.problems import listed
from agent.site.models.conditions import SUBJECTS

__all__ = ["check"]

LONGEST = 300
"""Characters of a text: it is in each event, and may be sent on as a short message."""
_WORDS = ("value", "unit", "limit", "name")


def check(at: Checked, alarms: Mapping[str, AlarmConfig]) -> None:
    for name, alarm in alarms.items():
        keys: Keys = ("alarms", name)
        check_subject(at, "alarms", name)
        co2 = is_co2(at.site, name, alarm)
        check_condition(at, keys, alarm, comparison=not co2)
        if co2 and info_name(name) in at.names("alarms"):
            what = f"{info_name(name)} is the name of the second alarm of {name} (line {at.line('alarms', name)})"
            at.error(("alarms", info_name(name)), f"{what}; name this one otherwise", at_key=True)
        for key, gate in (("when", alarm.when), ("while", alarm.while_)):
            if gate is not None:
                check_condition(at, (*keys, key), gate)
        if alarm.when is not None and alarm.while_ is not None:
            at.error((*keys, "while"), '"while" is the same as "when"; write one of them, with all: [...]', at_key=True)
        if alarm.text is not None:
            _check_text(at, (*keys, "text"), alarm.text, _without(alarm, co2))


def _without(alarm: AlarmConfig, co2: bool) -> tuple[set[str], str]:
    """The words of a text that have nothing to tell, and why."""
    subject = next((key for key in SUBJECTS if getattr(alarm, key) is not None), "")
    if subject in ("all", "any"):
        return {"value", "unit", "limit"}, f'"{subject}" has several conditions'
    if subject not in ("point", "actuator", ""):
        return {"value", "unit", "limit"}, f'"{subject}" is no point'
    return ({"limit"}, '"is" gives no limit') if alarm.is_ is not None and not co2 else (set(), "")


def _check_text(at: Checked, keys: Keys, text: str, without: tuple[set[str], str]) -> None:
    if len(text) > LONGEST:
        at.error(keys, f"{len(text)} characters are too many for a message; write at most {LONGEST}")
    try:
        found = [(word, form or kind) for _, word, form, kind in string.Formatter().parse(text) if word is not None]
    except ValueError:
        at.error(keys, "a brace without its other half; write {{ or }} for a brace itself")
        return
    for word, form in found:
        if word not in _WORDS or form:
            said = listed(f"{{{one}}}" for one in _WORDS)
            at.error(keys, f"{{{word}{':' + form if form else ''}}} is not filled in; write {said}")
    lacking, why = without
    used = {word for word, _ in found}
    if empty := [f"{{{word}}}" for word in _WORDS if word in lacking & used]:
        at.warn(keys, f"{listed(empty, 'and')} cannot be filled in: {why}; say it in words")
