from __future__ import annotations

from agent.uplink.dialects.native import Native, encode


def test_topics() -> None:
    topics = Native("bocage/v1", "village")
    assert topics.commands.topic == "bocage/v1/village/cmd/+"
    assert topics.command_id("bocage/v1/village/cmd/c1") == "c1"
    assert topics.command_id("elsewhere/cmd/c1") == "elsewhere/cmd/c1"  # not an id: refused as one


def test_what_json_has_not_becomes_null() -> None:
    assert (
        encode({"a": float("nan"), "b": [1, float("inf")], "é": {"c": 2.5}})
        == '{"a":null,"b":[1,null],"é":{"c":2.5}}'.encode()
    )
