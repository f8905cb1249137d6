"""What holds for all tests."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("machines", deadline=None)
settings.load_profile("machines")
"""Hypothesis fails what takes longer than 0.2 s once and not again: on a busy machine that is any test."""

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell that runs this in the background has it ignored, and every process of ours would inherit that."""

_OPEN = Path("/proc/self/fd")
_FEW = 16
"""Files that one module of tests may leave open: what its last test holds, and what a library keeps."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What came of the tests on another system, which `.ci/run` made before these, stands where it is seen."""
    if said := os.environ.get("BESIDE"):
        terminalreporter.write_line(said)


@pytest.fixture(autouse=True, scope="module")
def _files_are_closed(request: pytest.FixtureRequest) -> Iterator[None]:
    """What modules leave open adds up over the suite, until a test fails that has no part in it."""
    before = set(_OPEN.iterdir())
    yield
    gc.collect()
    left = set(_OPEN.iterdir()) - before
    if len(left) > _FEW:
        names = sorted(str(file.readlink()) for file in left if file.is_symlink())
        raise AssertionError(f"{request.module.__name__} leaves {len(names)} files open: {', '.join(names)}")
