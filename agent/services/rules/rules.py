"""Rules and interlocks: what they move, and that none waits for itself."""

from __future__ import annotations

from collections.abc import Mapping

from agent.services.rules.config import RuleConfig
from agent.site.checks.conditions import check_condition, check_subject, moved_by
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.language.values import number

__all__ = ["check"]


def check(at: Checked, rules: Mapping[str, RuleConfig]) -> None:
    for name, rule in rules.items():
        keys: Keys = ("rules", name)
        check_subject(at, "rules", name)
        check_condition(at, (*keys, "if"), rule.if_)
        _check_effect(at, keys, rule)
    _check_rivals(at, rules)
    _check_circles(at, rules)


def _check_effect(at: Checked, keys: Keys, rule: RuleConfig) -> None:
    wrong = at.wrong(*keys, "then") or at.wrong(*keys, "lock")
    if rule.then is not None and rule.lock is not None:
        at.error((*keys, "lock"), 'a rule has "then" or "lock", not both; write two rules', at_key=True)
        return
    effect, key = (rule.lock, "lock") if rule.lock is not None else (rule.then, "then")
    if effect is None:
        if not wrong:
            at.error(keys, 'it does nothing: write "then" or "lock" with an actuator and its value', at_key=True)
        return
    if not at.known((*keys, key, "actuator"), "actuator", effect.actuator, at.names("actuators")):
        return
    actuator = at.site.actuators.get(effect.actuator)
    if actuator is None or at.wrong(*keys, key, "value"):
        return
    line = at.line("actuators", effect.actuator)
    if actuator.kind == "relay" and not isinstance(effect.value, str):
        at.error((*keys, key, "value"), f"{effect.actuator} is a relay (line {line}); write on or off")
        return
    if rule.lock is not None:
        _check_lock(at, (*keys, "lock", "value"), rule, line)
        if rule.max_on is not None:
            at.error((*keys, "max_on"), '"max_on" is for a rule; an interlock holds as long as it must', at_key=True)
    elif rule.on_stale == "lock":
        at.error((*keys, "on_stale"), '"lock" is for an interlock; write keep or release')
    elif rule.max_on is not None and effect.value == "off":
        at.error((*keys, "max_on"), "max_on bounds how long it is on, and this rule switches off", at_key=True)


def _check_lock(at: Checked, keys: Keys, rule: RuleConfig, line: int) -> None:
    """An interlock moves towards the safe state only."""
    assert rule.lock is not None
    name, value = rule.lock.actuator, rule.lock.value
    safe = at.site.actuators[name].safe_state
    said = safe if isinstance(safe, str) else f"{number(safe)} %"
    if safe == "hold":
        text = f"an interlock leads to the safe_state alone, and that of {name} is hold (line {line})"
        at.error(keys, text, f"write safe_state: off in {name} if that is safe, or take a rule (then) in place of lock")
    elif value == "hold":
        at.error(keys, f"hold is no value of an interlock; write {said}, the safe_state of {name} (line {line})")
    elif value != safe:
        at.error(keys, f"an interlock leads to the safe_state alone: {name} has {said} (line {line}); write {said}")
    elif (other := at.other_site(at.site.actuators[name].output)) is not None:
        text = f"{name} is an output of {other} (line {line}): off only ends our wish there, and locks nothing"
        at.error((*keys[:-1], "actuator"), text, f"write the interlock in the file of {other}")
    elif value not in ("off", 0) and name in at.held_off:
        owner, where = at.held_off[name]
        text = f"{owner} (line {at.line(*where)}) may hold {name} off to protect it, and of two interlocks off wins"
        at.warn(keys, f"{text}: this one does not switch it on then")
    elif value in ("off", 0) and name in at.held_on:
        owner, where = at.held_on[name]
        text = f"{owner} (line {at.line(*where)}) may hold {name} on against frost, and of two interlocks off wins"
        at.warn(keys, f"{text}: this one holds it off also then")


def _check_rivals(at: Checked, rules: Mapping[str, RuleConfig]) -> None:
    """Two rules that want different values of one actuator have no order."""
    first: dict[str, tuple[str, str | float]] = {}
    for name, rule in rules.items():
        if rule.then is None:
            continue
        other, value = first.setdefault(rule.then.actuator, (name, rule.then.value))
        if value != rule.then.value:
            line = at.line("rules", other)
            text = f"{rule.then.actuator} is {value} by {other} (line {line}): of two rules neither comes first"
            at.error(("rules", name, "then", "value"), text, "write one rule, with all: or any: in its condition")


def _check_circles(at: Checked, rules: Mapping[str, RuleConfig]) -> None:
    """A rule that looks at what it moves, itself or by way of others, would switch for ever."""
    moves = {name: effect.actuator for name, rule in rules.items() if (effect := rule.then or rule.lock) is not None}
    waits = {name: {other for other in moves if moves[other] in moved_by(at, rules[name].if_)} for name in moves}
    told: set[str] = set()
    for name in moves:
        way = _way_back(name, waits)
        if way is None or told & set(way):
            continue
        told |= set(way)
        if len(way) == 1:
            text = f"{name} looks at {moves[name]}, which it moves itself"
        else:
            text = f"{' -> '.join((*way, way[0]))}: each looks at what the next one moves, and so on in a circle"
        one = "it" if len(way) == 1 else "one of them"
        at.error(("rules", name, "if"), text, f"let {one} look at what is measured", at_key=True)


def _way_back(start: str, waits: Mapping[str, set[str]]) -> tuple[str, ...] | None:
    """The shortest way from a rule over those that it looks at back to itself; None: there is none."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for other in sorted(waits[way[-1]]):
            if other == start:
                return way
            if other not in seen:
                seen.add(other)
                ways.append((*way, other))
    return None
