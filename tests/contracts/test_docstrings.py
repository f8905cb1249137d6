"""Docstrings and comments are plain English: subjects instead of "who" and "nobody", and no private words."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BEGINS = re.compile(r"^(?:What|Of|Those|Who(?:ever|se)?|[Ss]omebody|[Nn]obody|[Ee]verybody)\b")
PRIVATE = re.compile(
    r"\b(?:nobody|somebody|everybody|whoever|what of|of before|let go|lets go|g[ai]ven? back|gives back|told of"
    r"|heard of|spoken of|the (?:door|desk|roster|house)|parcels?|without a word|no word|word about"
    r"|stands? (?:here|there|in|on|under|below|beside|twice)|how things stand)\b",
    re.IGNORECASE,
)
"""Instead: a subject; earlier, older; release, close, relinquish; return; reported; arbiter; message; is, is in."""
WHO = re.compile(r"\bwho\b(?! may write)", re.IGNORECASE)
"""As the subject of a thing's deed. A user who may write to a folder is a person."""
DEFINED = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


def docstrings(text: bytes) -> Iterator[tuple[int, str]]:
    """Those of modules, classes and functions, and the strings below an attribute."""
    for node in ast.walk(ast.parse(text)):
        for one in node.body if isinstance(node, DEFINED) else ():
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str):
                yield one.lineno, one.value.value


def comments(text: bytes) -> Iterator[tuple[int, str]]:
    for token in tokenize.tokenize(io.BytesIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def sources() -> Iterator[tuple[str, bytes]]:
    for top in ("agent", "drivers"):
        for path in sorted((ROOT / top).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_bytes()


def test_docstrings_begin_with_what_a_thing_does() -> None:
    found = [
        f"{name}:{line}: {text.splitlines()[0]}"
        for name, source in sources()
        for line, text in docstrings(source)
        if BEGINS.search(text)
    ]
    assert not found, "\n".join(found)


def test_docstrings_and_comments_have_no_private_words() -> None:
    found = [
        f"{name}:{line}: {match[0]}: {' '.join(text.split())[:100]}"
        for name, source in sources()
        for line, text in (*docstrings(source), *comments(source))
        for match in (PRIVATE.search(" ".join(text.split())) or WHO.search(" ".join(text.split())),)
        if match
    ]
    assert not found, "\n".join(found)
