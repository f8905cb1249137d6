"""A wall clock that a test sets: libfaketime, which leaves CLOCK_BOOTTIME alone."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def faketime():
    """Makes an environment in which the wall clock is off by what stands in a file ("+7200")."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("libfaketime is not here: apt-get install faketime")

    def environment(stand):
        return {
            **os.environ, "LD_PRELOAD": str(found[0]), "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(stand), "BOCAGE_CLOCK": "trusted",
        }  # fmt: skip

    return environment
