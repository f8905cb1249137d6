"""Rules and interlocks of the site file as their controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.control.api import Control
from agent.model import Value
from agent.services.rules.config import RuleConfig
from agent.services.rules.control import Rule
from agent.site.build.conditions import condition, sources
from agent.site.build.counters import profile_point
from agent.site.models.site import Site

__all__ = ["controls", "moved_by_services"]

_TOP = 100.0


def controls(site: Site, rules: Mapping[str, RuleConfig]) -> list[Control[Any]]:
    """Every rule and every interlock."""
    served = moved_by_services(site)
    return [_rule(site, name, rule, served) for name, rule in rules.items()]


def moved_by_services(site: Site) -> set[str]:
    """The actuators that a service's section names: it moves them."""
    sections = [section.model_dump() for service, section in site.services() if not service.is_named]
    return set(_words(sections)) & site.actuators.keys()


def _rule(site: Site, name: str, rule: RuleConfig, served: set[str]) -> Rule:
    effect = rule.lock or rule.then
    assert effect is not None
    alone = rule.then is not None and effect.actuator not in served
    safe = site.actuators[effect.actuator].safe_state
    return Rule(
        name,
        condition(site, rule.if_),
        effect.actuator,
        _value(site, effect.actuator, effect.value),
        locks=rule.lock is not None,
        on_stale=rule.on_stale or ("keep" if rule.lock is not None else "release"),
        max_on=rule.max_on,
        otherwise=_value(site, effect.actuator, "off" if safe == "hold" else safe) if alone else None,
        points=tuple(dict.fromkeys(sources(rule.if_))),
    )


def _value(site: Site, name: str, level: str | float) -> Value:
    """A state of the file as the arbiter takes it."""
    actuator = site.actuators[name]
    if actuator.kind == "relay":
        return level == "on"
    if isinstance(level, str):
        return float(profile_point(site, actuator.output).get("high") or _TOP) if level == "on" else 0.0
    return level


def _words(value: Any) -> Iterator[str]:
    """Every text in the sections of the services."""
    if isinstance(value, str):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    for one in inner:
        yield from _words(one)
