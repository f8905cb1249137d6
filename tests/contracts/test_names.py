"""One name, one thing: no public class name is used twice in agent/ and drivers/, and in what is copied there."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = "agent/**/*.py", "drivers/**/*.py", "tests/services/sirens/*.py"
"""`sirens` is the service to copy; the driver to copy, `_blueprint`, is in `drivers/`."""


def test_no_class_name_is_used_twice() -> None:
    found = defaultdict(set)
    for path in (path for place in PLACES for path in ROOT.glob(place)):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(str(path.relative_to(ROOT)))
    twice = {name: sorted(paths) for name, paths in found.items() if len(paths) > 1}
    assert not twice
