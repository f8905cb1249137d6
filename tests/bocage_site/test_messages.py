"""Messages between sites: what goes in comes out, it fits the schemas, and no content of a message breaks a reader."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Quality
from drivers.bocage_site import messages
from drivers.bocage_site.messages import Asked, NoMessage, Stamp, Told, ToldValue, asked, parse_asked, parse_told, told

SCHEMAS = Path(__file__).parents[2] / "docs/schemas"
STAMPS = st.builds(
    Stamp, st.text("0123456789abcdef-", min_size=1, max_size=36), st.integers(0, 1 << 50),
    st.none() | st.integers(0, 1 << 50),
)  # fmt: skip
NAMES = st.text(min_size=1, max_size=30)
NUMBERS = st.integers(-(1 << 60), 1 << 60) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = NUMBERS | st.booleans() | st.text(max_size=20)
TOLD = st.builds(ToldValue, VALUES, st.integers(0, 10**9).map(lambda ms: ms / 1000), st.sampled_from(Quality))
WISHES = st.dictionaries(NAMES, NUMBERS | st.booleans(), max_size=5)


def fits(name: str, body: bytes) -> None:
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text())).validate(json.loads(body))


@given(st.builds(
    Told, STAMPS, st.dictionaries(NAMES, TOLD, max_size=5), WISHES,
    st.none() | st.tuples(NAMES, st.integers(0, 1 << 50)), st.dictionaries(NAMES, st.text(max_size=20), max_size=3),
))  # fmt: skip
def test_what_is_told_comes_out_as_it_went_in(one):
    fits("peer", told(one))
    assert parse_told(told(one)) == one


@given(st.builds(
    Asked, STAMPS, st.integers(1, 10**7).map(lambda ms: ms / 1000), st.integers(1, 10**6).map(lambda ms: ms / 1000),
    st.dictionaries(NAMES, NUMBERS | st.booleans() | st.none(), max_size=5), st.lists(NAMES, max_size=5),
))  # fmt: skip
def test_what_is_asked_comes_out_as_it_went_in(one):
    fits("want", asked(one))
    assert parse_asked(asked(one)) == one


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["t", "boot", "boottime_ms", "p", "w", "a", "r", "set", "read", "for_ms", "every_ms", "x"]),
        inner, max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.binary(max_size=200) | JSON.map(lambda one: json.dumps(one).encode()))
def test_nothing_but_malformed_is_raised_for_whatever_comes(body):
    for parse in (parse_told, parse_asked):
        try:
            parse(body)
        except NoMessage:
            pass


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"boot": 1}, "boot is missing"),
        ({"boottime_ms": True}, "boottime_ms is True"),
        ({"boottime_ms": -1}, "boottime_ms is -1"),
        ({"t": "now"}, "t is 'now'"),
        ({"p": {"a": [0]}}, "p.a is not"),
        ({"p": {"a": [0, 1, "fine"]}}, "p.a has no quality"),
        ({"p": {"a": [0, None]}}, "p.a is good and has no value"),
        ({"p": {"a": [0, {}]}}, "p.a is no text"),
        ({"p": {str(n): [0, 1] for n in range(messages.MOST + 1)}}, "p is no object"),
        ({"a": ["x"]}, "a is not"),
        ({"a": ["x", True]}, "a is not"),
    ],
)
def test_what_is_wrong_is_said(change, said):
    good = {"t": None, "boot": "b", "boottime_ms": 1, "p": {}}
    parse_told(json.dumps(good).encode())
    with pytest.raises(NoMessage, match=said):
        parse_told(json.dumps(good | change).encode())


def test_a_message_without_a_time_of_life_is_none():
    for key in ("for_ms", "every_ms"):
        for value in (0, -1, None, "60", True, float("inf")):
            good = {"t": None, "boot": "b", "boottime_ms": 1, "for_ms": 1, "every_ms": 1}
            with pytest.raises(NoMessage):
                parse_asked(json.dumps(good | {key: value}).encode())


def test_a_message_for_two_points_is_short():
    """On an NB-IoT link each byte is paid: a pump and two levels cost some 200 bytes a minute."""
    boot = "6f1c0b6e-0a0e-4d0f-9a55-0c8a4c6c1f2e"
    values = {"well": ToldValue(True, 0.4), "tank-level": ToldValue(61.25, 3.1), "flow": ToldValue(12.4, 3.1)}
    assert len(told(Told(Stamp(boot, 123_456_789, 1_764_000_000_000), values, {"well": True}, ("6f1c0b6e", 1)))) < 220
    assert len(asked(Asked(Stamp(boot, 123_456_789, 1_764_000_000_000), 180, 60, {"well": True}, ["well"]))) < 180
