"""A site file with changes, and what `check` says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.site.loader import check

CASES = Path(__file__).parent.parent / "cases"

Lines = Callable[[str], list[str]]


@pytest.fixture
def said(tmp_path: Path) -> Lines:
    """Text of a site file -> the lines of `check`, without the file's name."""

    def run(text: str) -> list[str]:
        path = tmp_path / "site.yaml"
        path.write_text(text, encoding="utf-8")
        return [str(problem).removeprefix(f"{path}:") for problem in check(path)]

    return run


@pytest.fixture
def saint_seine() -> str:
    return (CASES / "saint-seine.yaml").read_text(encoding="utf-8")
