"""One mistake in a site file is one message, which says where it is, what it is and what to write (`mistakes.yaml`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

MISTAKES: list[dict[str, Any]] = YAML(typ="safe").load(Path(__file__).with_name("mistakes.yaml"))


@pytest.mark.parametrize("mistake", MISTAKES, ids=[one["typed"].strip()[:50] for one in MISTAKES])
def test_one_mistake_is_one_message(
    said: Callable[[str], list[str]], saint_seine: str, mistake: dict[str, str]
) -> None:
    assert mistake["was"] in saint_seine
    assert said(saint_seine.replace(mistake["was"], mistake["typed"], 1)) == [mistake["said"]]


def test_a_name_that_is_not_there_is_said_once(said: Callable[[str], list[str]], saint_seine: str) -> None:
    (line,) = said(saint_seine.replace("  io-2:    {bus", "  io-22:   {bus"))
    assert line == '26:23: error: unknown device "io-2" (so on lines 32, 37, 38 and 39); did you mean "io-22"?'
    lines = said(saint_seine.replace("devices:\n", "devices: []\nx-devices:\n"))
    assert [line.split(" error: ")[0] for line in lines] == ["17:10:", "18:1:"]


def test_a_key_with_nothing_after_it_is_no_comma(said: Callable[[str], list[str]], saint_seine: str) -> None:
    was = '"mon,tue,thu,fri": ["07:30-17:00 comfort"]'
    assert was in saint_seine
    lines = said(saint_seine.replace(was, '"mon": ,\n            "tue": ["07:30-17:00 comfort"]'))
    assert [line.split("error: ")[1][:30] for line in lines] == ['there is no value after "mon:"']
