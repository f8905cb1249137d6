"""One name, one thing: no public class name is used twice in agent/ and drivers/."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
TWICE = {"Now", "Pace", "State", "Writer", "Written"}
"""Names that the outbox shares with another part, with another meaning. None may be added."""


def test_no_class_name_is_used_twice() -> None:
    found = defaultdict(set)
    for path in (*ROOT.glob("agent/**/*.py"), *ROOT.glob("drivers/**/*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(str(path.relative_to(ROOT)))
    twice = {name: sorted(paths) for name, paths in found.items() if len(paths) > 1}
    assert not {name: paths for name, paths in twice.items() if name not in TWICE}
    assert twice.keys() >= TWICE, "take a name off the list that is used once"
