"""What became of the radio's frames, judged by what the gateway was told, the nodes heard, and the broker took."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tests.simulation.plant import Answer
from tests.simulation.radio import Node, cmac, encrypt

__all__ = ["judge"]

COUNTERS = 75.0
"""Seconds for which counters of uplinks that are not answered may be in memory alone (the page of lora_gwmp)."""
TURN = 2.0
"""Seconds from the port to the outbox: copies are collected, what is to be sent is kept before it is read on."""
STOP = 8.0
"""The same where an orderly stop is under way."""
END = 900.0
"""Seconds of peace after which every node is heard again."""


def judge(world: Any) -> None:
    """What was broken is added to the world's judge."""
    air = world.village.air
    if air is None:
        return
    slow = 9.0 if "slow_disk" in world.mixture.pauses else 0.0
    must = world.judge.must
    for node in air.nodes:
        for complaint in node.complaints:
            must(False, complaint)
        _uplinks(world, node, slow)
        _once(world, node, slow)
        _joins(world, node)
        _returned(world, node)
    _counters(world)
    _values(world)


def _uplinks(world: Any, node: Node, slow: float) -> None:
    """What was handed over comes, unless a later frame was there before it, or the process died just then."""
    handed, answers, later = world.village.air.gateway.handed, [], float("inf")
    for count, frame in sorted(node.readings.items(), reverse=True):
        told = handed.get(frame)
        if told is None:
            continue
        if told.acknowledged and told.acknowledged[0] < later and told.sent[0] < later:
            answers.append(Answer(count, told.acknowledged[0], None))
        later = min(later, told.sent[0])
    ends = [(at - STOP - slow, at) for at in world.diary.stopped] + [(at - TURN - slow, at) for at in world.died]
    answers = [one for one in answers if not any(begin <= one.at <= end for begin, end in ends)]
    world.judge.readings(answers, world.windows(slow), world.unwritten(), slow, f"{node.name}.count")


def _once(world: Any, node: Node, slow: float) -> None:
    """A measurement is a reading once, however often its frame comes."""
    handed = world.village.air.gateway.handed
    for count, frame in node.readings.items():
        keys = world.judge.heard[f"{node.name}.count", count]
        if len(keys) <= 1:
            continue
        sent = handed[frame].sent
        forgot = any(
            min(sent) <= death <= max(sent) + 5.0 and death - min(sent) <= COUNTERS + slow for death in world.died
        )  # fmt: skip
        forgot = forgot or any(begin - COUNTERS <= max(sent) and end >= min(sent) for begin, end in world.disk.hurt)
        world.judge.must(forgot, f"measurement {count} of {node.name} came as {keys}, its frame at {sent}")


def _joins(world: Any, node: Node) -> None:
    """A DevNonce is answered with one join-accept, and a JoinNonce is in one."""
    if not node.app_key:
        return
    answers: dict[int, set[bytes]] = defaultdict(set)
    nonces: dict[int, set[bytes]] = defaultdict(set)
    for order in world.village.air.gateway.orders:
        if order.frame[0] != 0x20:
            continue
        body = encrypt(node.app_key, order.frame[1:])
        if cmac(node.app_key, order.frame[:1] + body[:-4])[:4] != body[-4:]:
            continue
        nonces[int.from_bytes(body[:3], "little")].add(order.frame)
        if order.after in node.requests:
            answers[node.requests[order.after]].add(order.frame)
    for what, found in (("DevNonce", answers), ("JoinNonce", nonces)):
        for nonce, frames in found.items():
            world.judge.must(len(frames) == 1, f"{node.name}: {what} {nonce} has {len(frames)} join-accepts")


def _returned(world: Any, node: Node) -> None:
    """After the faults it is heard again."""
    end, handed = world.loop.time(), world.village.air.gateway.handed
    last = [told.acknowledged[-1] for told in map(handed.get, node.readings.values()) if told and told.acknowledged]
    world.judge.must(last and max(last) > end - END, f"{node.name} is not heard any more, since {max(last, default=0)}")


def _counters(world: Any) -> None:
    """A downlink counter of a session has one content, whatever became of it."""
    known: dict[bytes, bytes] = {}
    for order in world.village.air.gateway.orders:
        if order.frame[0] in (0x60, 0xA0):
            key = order.frame[1:5] + order.frame[6:8]
            same = known.setdefault(key, order.frame) == order.frame
            world.judge.must(same, f"downlink counter {key.hex()} came twice, at {order.at:.3f} s with other content")


def _values(world: Any) -> None:
    """A value comes after it was asked for, one that is verified was heard, and none comes after a later one was.

    The later one is the one that was handed to the agent later: topics have no order among each other (MQTT 5, 4.6).
    """
    node = next(node for node in world.village.air.nodes if node.name == "valve")
    verified = {
        int(name[2:])
        for name, results in world.judge.results.items()
        if name.startswith("r-") and any(result["state"] == "verified" for result in results.values())
    }
    got = {value for _, value in node.received}
    world.judge.must(verified <= got, f"valve never heard {sorted(verified - got)}, which are called verified")
    names = (one.body.get("id", "") for one in world.diary.asked)
    came: dict[int, int] = {}
    for turn, name in enumerate(name for name in names if name.startswith("r-")):
        came.setdefault(int(name[2:]), turn)  # it comes again where the link broke
    stands, turn = 0, -1
    for at, value in node.received:
        world.judge.must(value in came, f"valve was sent {value} at {at:.3f} s")
        mine = came.get(value, -1)
        world.judge.must(mine >= turn, f"valve was sent {value} at {at:.3f} s, after {stands}")
        if value in verified and mine > turn:
            stands, turn = value, mine
