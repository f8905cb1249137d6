"""No module imports itself through others while it is being loaded, so that each can be the first to be imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in ("agent", "drivers")
    for path in (ROOT / top).rglob("*.py")
}


def _while_loading(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that are run with the module: not those in functions, nor those for type checkers."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _while_loading(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            for part in ("body", "orelse", "finalbody"):
                yield from _while_loading(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from _while_loading(handler.body)


def _packages(module: str) -> set[str]:
    """The packages a module is in, each of which Python loads before it."""
    parts = module.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts))}


def _needs(module: str, path: Path) -> set[str]:
    """The modules of ours that loading this one begins to load."""
    found: set[str] = set()
    for node in _while_loading(ast.parse(path.read_bytes()).body):
        if isinstance(node, ast.Import):
            named = {alias.name for alias in node.names}
            found |= named
        else:
            assert not node.level and node.module, f"{path}:{node.lineno}: a relative import"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            named = (below & FILES.keys()) | ({node.module} if below - FILES.keys() else set())
            found |= named
        found |= {package for name in named for package in _packages(name)} - _packages(module)
    return found & FILES.keys() - {module}


def test_no_module_is_imported_in_a_circle() -> None:
    try:
        TopologicalSorter({module: _needs(module, path) for module, path in FILES.items()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
