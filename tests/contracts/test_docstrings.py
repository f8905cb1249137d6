"""Docstrings say what a thing does: none begins with "who", "what of", "somebody" or "nobody"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(r"^(?:What of|Who(?:ever|se)?|[Ss]omebody|[Nn]obody|[Ee]verybody)\b")
DEFINED = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Those of modules, classes and functions, and the strings that stand below an attribute."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        for one in node.body if isinstance(node, DEFINED) else ():
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str):
                yield one.lineno, one.value.value


def test_docstrings_have_subjects() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.split(chr(10))[0]}"
        for top in ("agent", "drivers")
        for path in sorted((ROOT / top).rglob("*.py"))
        for line, text in docstrings(path)
        if PRIVATE.search(text)
    ]
    assert not found, "\n".join(found)
