"""`make torture` in its shortest form: every row once. The figures are asserted by the rows themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.rig import Unsettled
from tests.torture.rows import ROWS, Scale


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.amounts[0]])
def test_row(name: str, tmp_path: Path) -> None:
    try:
        found = ROWS[name].run(tmp_path / name, Scale.SHORT)
    except Unsettled as why:
        pytest.skip(str(why))
    assert not found.broken, found
    assert found.figures.get("lost") == 0
