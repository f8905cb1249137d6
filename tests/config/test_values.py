"""Quantities as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from agent.site.language import values
from agent.site.language.values import DURATION, FLOW, PERCENT, VOLUME, Quantity


@pytest.mark.parametrize(
    ("quantity", "text", "value"),
    [
        (DURATION, "10s", 10), (DURATION, "15min", 900), (DURATION, "500ms", 0.5), (DURATION, "7d", 604800),
        (DURATION, " 1.5 h ", 5400), (FLOW, "1500 L/h", 1500), (FLOW, "2 m3/h", 2000), (FLOW, "10 L/min", 600),
        (VOLUME, "3 m3", 3000), (PERCENT, "30 %", 30), (PERCENT, "30%", 30),
    ],
)  # fmt: skip
def test_read(quantity: Quantity, text: str, value: float) -> None:
    assert quantity.parse(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("quantity", "written", "words"),
    [
        (DURATION, 10, "10 has no unit; write 10s, 10min or 10h"),
        (DURATION, "10", "10 has no unit; write 10s, 10min or 10h"),
        (DURATION, 2.5, "2.5 has no unit; write 2.5s, 2.5min or 2.5h"),
        (DURATION, "10 m", 'unknown unit "m" in "10 m"; write 10s, 10min or 10h'),
        (DURATION, "soon", '"soon" is not a duration; write 10s, 10min or 10h'),
        (DURATION, True, "true is not a duration; write 10s, 10min or 10h"),
        (DURATION, "-5s", "-5s is too little; write at least 0s"),
        (FLOW, 10, "10 has no unit; write 10 L/h or 10 m3/h"),
        (FLOW, "10 kW", 'unknown unit "kW" in "10 kW"; write 10 L/h or 10 m3/h'),
        (PERCENT, 30, "30 has no unit; write 30 %"),
        (PERCENT, "130 %", "130 % is too much; write at most 100 %"),
        (VOLUME, "0 L", "0 L is too little; write more than 0 L"),
        (VOLUME, "1,5 L", '"1,5 L" has a comma; write the decimals after a point'),
    ],
)
def test_refused_with_the_right_units(quantity: Quantity, written: object, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        quantity.parse(written)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30, "30s"), (600, "10min"), (90, "90s"), (5400, "90min"), (0.5, "500ms"), (86400, "1d"), (0, "0s")],
)
def test_written_back(seconds: float, text: str) -> None:
    assert DURATION.format(seconds) == text


@given(some.integers(0, 10**6), some.sampled_from([DURATION, FLOW, VOLUME]))
def test_what_is_written_back_reads_the_same(number: int, quantity: Quantity) -> None:
    value = number + 1
    if quantity is not DURATION or value < 3 * 10**8:
        assert quantity.parse(quantity.format(value)) == pytest.approx(value)


_QUANTITIES = [DURATION, FLOW, VOLUME, PERCENT]


@given(some.sampled_from(_QUANTITIES), some.one_of(some.text(), some.floats(), some.integers(), some.none(),
       some.from_regex(values._QUANTITY)))  # fmt: skip
def test_nothing_but_a_number_or_a_reason(quantity: Quantity, written: object) -> None:
    try:
        value = quantity.parse(written)
    except ValueError as error:
        assert str(error)
    else:
        assert quantity.low is not None and value >= quantity.low
