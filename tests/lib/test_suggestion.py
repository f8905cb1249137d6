"""The known word that a misspelt one was meant to be."""

import pytest

from agent.lib.suggestion import did_you_mean, nearest


@pytest.mark.parametrize(
    ("word", "meant"), [("chekc", "check"), ("CHECK", "check"), ("reed", "read"), ("saint", None), ("", None)]
)
def test_the_most_similar_word(word: str, meant: str | None) -> None:
    assert nearest(word, ["check", "read", "watch"]) == meant


def test_capitals_of_the_known_word_are_kept() -> None:
    assert nearest("europe/pariss", ["Europe/Paris", "Europe/Rome"], similarity=0.8) == "Europe/Paris"
    assert nearest("europe", ["Europe/Paris", "Europe/Rome"], similarity=0.8) is None


def test_it_is_asked_as_a_question() -> None:
    assert did_you_mean("clasroom", {"classroom"}) == 'did you mean "classroom"?'
    assert did_you_mean("hall", {"classroom"}) is None
