"""tests/cases/config-*: one or more changes to saint-seine.yaml, and every line that `check` then says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.site.language.document import read

CASES = Path(__file__).parent.parent / "cases"


@pytest.mark.parametrize("case", sorted(CASES.glob("config-*")), ids=lambda case: case.name)
def test_messages_after_a_change(case: Path, said: Callable[[str], list[str]], saint_seine: str) -> None:
    lines = saint_seine.split("\n")
    for change in read(case / "change.yaml").data:
        before = lines[change["line"] - 1]
        assert change["from"] in before
        lines[change["line"] - 1] = before.replace(change["from"], change["to"], 1)
    assert said("\n".join(lines)) == (case / "expected.txt").read_text(encoding="utf-8").splitlines()


def test_unchanged_it_is_clean(said: Callable[[str], list[str]], saint_seine: str) -> None:
    assert said(saint_seine) == []
