"""One name, one thing: no public class name is used twice in agent/ and drivers/."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_class_name_is_used_twice() -> None:
    found = defaultdict(set)
    for path in (*ROOT.glob("agent/**/*.py"), *ROOT.glob("drivers/**/*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(str(path.relative_to(ROOT)))
    twice = {name: sorted(paths) for name, paths in found.items() if len(paths) > 1}
    assert not twice
