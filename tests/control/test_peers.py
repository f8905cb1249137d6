"""Requests of another site as wishes: at 15, while they hold, and never left behind by a restart."""

from hypothesis import given
from hypothesis import strategies as st

from agent.control.api import NEVER, Input, Now, Output, View, Wish
from agent.control.peers import PeerRequests
from agent.model import Quality

CONTROL = PeerRequests("from-haut", "haut", {"from-haut.well": "well", "from-haut.valve": "valve"})
OFF = Output(False, 16, "boot state", 0.0, None)
ON = OFF._replace(value=True)


def view(well=None, valve=None, outputs=None):
    asked = {"from-haut.well": well, "from-haut.valve": valve}
    points = {name: Input(value, Quality.GOOD, 0.0) for name, value in asked.items() if value is not None}
    return View(points, {"well": OFF, "valve": OFF} if outputs is None else outputs)


def now(at):
    return Now(at, None, False)


def test_a_request_is_a_wish_at_15_that_names_the_site():
    _, wishes, happenings, due = CONTROL.step(10.0, view(well=True), now(20.0))
    assert list(wishes) == [Wish("well", 15, True, "asked by haut")]
    assert (happenings, due) == ((), NEVER)


def test_off_bad_and_stale_are_no_wish():
    assert CONTROL.step(10.0, view(well=False), now(20.0)).wishes == []
    for quality in (Quality.BAD, Quality.STALE):
        seen = View({"from-haut.well": Input(True, quality, 0.0)}, {})
        assert CONTROL.step(10.0, seen, now(20.0)).wishes == []


def test_what_is_there_at_the_start_is_wished_for_a_second_and_given_up():
    state, wishes, _, due = CONTROL.step(None, view(outputs={"well": ON}), now(20.0))
    assert list(wishes) == [Wish("well", 15, True, "as it was, before haut asks")]
    assert due == 21.0
    state, wishes, _, due = CONTROL.step(state, view(outputs={"well": ON}), now(21.0))
    assert (list(wishes), due) == ([], NEVER)


def test_a_restart_begins_anew():
    assert CONTROL.load(CONTROL.dump(30.0)) is CONTROL.initial() is None


@given(
    st.lists(st.tuples(st.floats(0, 100), st.sampled_from([None, True, False]), st.booleans()), min_size=1, max_size=30)
)
def test_no_wish_but_what_is_asked_lasts_longer_than_a_second(steps):
    state, at, begun = None, 0.0, 0.0
    for pause, asked, restarted in steps:
        at += pause
        if restarted:
            state = None
        begun = at if state is None else begun
        state, wishes, _, due = CONTROL.step(state, view(well=asked, outputs={"well": ON}), now(at))
        if asked:
            assert list(wishes) == [Wish("well", 15, True, "asked by haut")]
        elif wishes:
            assert at - begun < 1.0 and due <= begun + 1.0
