"""Wishes of several controls for one output at one priority."""

from __future__ import annotations

from agent.control.api import Wish
from agent.control.wishes import SharedWishes
from tests.control.conftest import FakeArbiter


def test_the_one_that_wants_most_holds_but_of_interlocks_the_one_that_wants_least():
    arbiter = FakeArbiter("valve")
    wishes = SharedWishes(arbiter)
    wishes.put("fire", [Wish("valve", 2, True, "fire"), Wish("valve", 15, True, "hours")])
    wishes.put("fountain", [Wish("valve", 2, False, "burst"), Wish("valve", 15, False, "closed")])
    assert arbiter.wishes == {("valve", 2): (False, "burst"), ("valve", 15): (True, "hours")}
    wishes.put("fountain", [])
    assert arbiter.wishes["valve", 2] == (True, "fire")


def test_of_levels_as_well():
    arbiter = FakeArbiter("flow")
    wishes = SharedWishes(arbiter)
    wishes.put("max_flow", [Wish("flow", 2, 20.0, "max_flow")])
    wishes.put("lock", [Wish("flow", 2, 0.0, "lock")])
    assert arbiter.wishes["flow", 2] == (0.0, "lock")
