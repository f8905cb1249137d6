"""The collector's file."""

import pytest

from agent.collect.store import CollectStore


@pytest.fixture
def file(tmp_path):
    return tmp_path / "region.db"


@pytest.fixture
def kept(file):
    store = CollectStore(file)
    yield store
    store.close()
