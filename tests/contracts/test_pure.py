"""Pure modules of agent/control and agent/services get time and data as values: they ask no clock and open no file.

Imports alone do not tell: `datetime` is needed for calendars, and its `now` is a clock. The modules that may are those
of the contract `named` in setup.cfg.
"""

from __future__ import annotations

import ast
from configparser import ConfigParser
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLOCKS = {"now", "today", "utcnow"}
WORLD = {"open", "input", "print", "exec", "eval", "__import__"}


def impure_calls(source: str) -> list[str]:
    """The calls in it that ask a clock or reach out of the process, with their lines."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        f"{call.lineno}: {ast.unparse(call)}"
        for call in calls
        if (isinstance(call.func, ast.Attribute) and call.func.attr in CLOCKS)
        or (isinstance(call.func, ast.Name) and call.func.id in WORLD)
    ]


def pure_modules() -> list[str]:
    contracts = ConfigParser()
    contracts.read(ROOT / "setup.cfg")
    impure = contracts["importlinter:contract:named"]["protected_modules"].split()
    paths = [*ROOT.glob("agent/control/**/*.py"), *ROOT.glob("agent/services/**/*.py")]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return sorted(module for module in modules if not any(fnmatchcase(module, one) for one in impure))


@pytest.mark.parametrize("module", [*pure_modules(), "tests.services.sirens.control"])
def test_a_pure_module_asks_no_clock_and_opens_no_file(module: str) -> None:
    assert impure_calls((ROOT / module.replace(".", "/")).with_suffix(".py").read_text()) == []


def test_the_controls_are_among_them() -> None:
    modules = pure_modules()
    assert {"agent.services.water.control", "agent.services.water.meter", "agent.control.calendar"} <= set(modules)
    assert not {"agent.control.engine", "agent.services.water.rules"} & set(modules)


@pytest.mark.parametrize(
    "line",
    [
        "from datetime import datetime; datetime.now()",
        "from datetime import UTC, datetime; datetime.now(UTC)",
        "import datetime; datetime.date.today()",
        "open('/etc/hosts')",
    ],
)
def test_clocks_and_files_are_found(line: str) -> None:
    assert len(impure_calls(line)) == 1


@pytest.mark.parametrize("line", ["step(state, view, now)", "airing.open()", "calendar.civil(at)"])
def test_values_are_not(line: str) -> None:
    assert impure_calls(line) == []
