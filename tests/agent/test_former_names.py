"""Names that a third party's driver may still import: they are the things of today."""

import agent.driver
import agent.errors
import drivers.api


def test_former_names_are_aliases() -> None:
    assert agent.driver.Memory is drivers.api.DurableStore
    assert agent.errors.OutboxError is agent.errors.StorageError
