"""What goes wrong on the air, between gateway and server, and in nodes. A village without radio has none of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

__all__ = ["RADIO"]

Kind = tuple[float, Callable[[Any, random.Random], None]]


def _lost(world: Any, dice: random.Random) -> None:
    air = world.village.air
    air.lost = dice.choice((0.1, 0.5, 1.0))
    world.until_healed(dice.expovariate(1 / dice.choice((60, 600))), lambda: setattr(air, "lost", 0.0))


def _network(world: Any, dice: random.Random) -> None:
    gateway, what, share = world.village.air.gateway, dice.choice(("lost", "late", "repeated")), dice.choice((0.2, 0.7))
    setattr(gateway, what, share)
    world.until_healed(dice.expovariate(1 / 300), lambda: setattr(gateway, what, 0.0))


def _off(world: Any, dice: random.Random) -> None:
    gateway = world.village.air.gateway
    gateway.switch_off()
    world.until_healed(dice.expovariate(1 / dice.choice((5, 120))), gateway.switch_on)


def _restarts(world: Any, dice: random.Random) -> None:
    dice.choice(world.village.air.nodes).restart()


def _again(world: Any, dice: random.Random) -> None:
    world.village.air.again()


def _written(world: Any, dice: random.Random) -> None:
    """The region writes to a node: a value that no other command has."""
    world.radio_commands += 1
    number = world.radio_commands
    body = {"id": f"r-{number}", "point": "valve.position", "value": number, "ttl_ms": dice.choice((60_000, 900_000))}
    world.broker.send(f"bocage/v1/v/cmd/r-{number}", json.dumps(body).encode())


def _where_there_is_radio(hurt: Callable[[Any, random.Random], None]) -> Callable[[Any, random.Random], None]:
    return lambda world, dice: hurt(world, dice) if world.village.air is not None else None


RADIO: dict[str, Kind] = {
    "air_lost": (1200, _where_there_is_radio(_lost)),
    "gateway_network": (1200, _where_there_is_radio(_network)),
    "gateway_off": (2400, _where_there_is_radio(_off)),
    "node_restart": (1200, _where_there_is_radio(_restarts)),
    "replay": (400, _where_there_is_radio(_again)),
    "radio_command": (400, _where_there_is_radio(_written)),
}
