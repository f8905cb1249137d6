"""Values in the types that JSON has."""

import json
import math
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from agent.lib.jsonable import jsonable


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (math.nan, None), (-math.inf, None), (True, True), (None, None), ("text", "text"), (1.5, 1.5),
        ({1: (1, math.inf)}, {"1": [1, None]}), (MappingProxyType({"a": {3, 2}}), {"a": [2, 3]}),
        ([Path("/a"), b"x"], ["/a", "b'x'"]),
    ],
)  # fmt: skip
def test_every_value_can_be_written_as_json(value: Any, found: Any) -> None:
    assert jsonable(value) == found
    json.dumps(jsonable(value), allow_nan=False)


def test_a_replacement_comes_first_and_is_looked_into() -> None:
    def replace(value: Any) -> Any:
        return {"file": (value.name,)} if isinstance(value, Path) else value

    assert jsonable({"a": [Path("/b/c")]}, replace) == {"a": [{"file": ["c"]}]}
