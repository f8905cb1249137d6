"""Whatever stands in a file, `check` answers with problems, inside the file, and never with a traceback."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from agent.site.loader import check

SOURCE = (Path(__file__).parent.parent / "cases" / "saint-seine.yaml").read_text(encoding="utf-8")
TOKENS = [
    "{", "}", "[", "]", ":", ": ", ",", "- ", "&a ", "*a", "<<: ", "!x ", "? ", "|", ">", "%", "@", "\t", "\n", "#",
    "'", '"', "null", "~", "true", "on", "-1", "1e999", "0x", ".nan", "é", "\\U00110000", "gpio.99", "a.b", "10", "10s",
    "{}", "[]", "---\n", "...", "9" * 500,
]  # fmt: skip
EDITS = some.lists(
    some.tuples(some.integers(0, len(SOURCE)), some.integers(0, 30), some.sampled_from(TOKENS)), min_size=1, max_size=4
)


def assert_answers(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "site.yaml"
        path.write_bytes(data)
        lines = data.count(b"\n") + 2
        for problem in check(path):
            assert problem.message and "\n" not in problem.message
            assert 1 <= problem.line <= lines and problem.column >= 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EDITS)
def test_a_mangled_site(edits: list[tuple[int, int, str]]) -> None:
    text = SOURCE
    for at, length, token in edits:
        text = text[:at] + token + text[at + length :]
    assert_answers(text.encode())


@settings(max_examples=150, deadline=None)
@given(some.one_of(some.binary(max_size=60), some.lists(some.sampled_from(TOKENS), max_size=25).map(
    lambda parts: "".join(parts).encode())))  # fmt: skip
def test_any_bytes(data: bytes) -> None:
    assert_answers(data)
