"""A look at a LoRa bus while no agent runs: what can be found without sending to a node or storing anything.

Nodes send at their own times: that none was heard is no fault. A port in use, a broker that refuses and a modem
that does not answer are faults: a WireError.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping
from typing import Any

from agent.clock import Clock
from agent.errors import WireError
from agent.lib.pattern import Pattern, TooSlow
from drivers.api import BusSpec

__all__ = ["SECONDS", "probe"]

log = logging.getLogger("bocage.lora")

SECONDS = 11.0
"""How long it listens at the most: a packet forwarder tells that it is there every 5 to 10 s."""


async def probe(spec: BusSpec, clock: Clock, seconds: float = SECONDS) -> str:
    """Listen to a bus until the first sign of life, and say in words what was heard. WireError if the bus cannot
    work.
    """
    how = {"lora_gwmp": _gwmp, "lora_chirpstack": _chirpstack, "lora_rak_p2p": _rak, "lora_line": _line}[spec.type]
    return await how(spec.options, clock, seconds)


async def _gwmp(options: Mapping[str, Any], _clock: Clock, seconds: float) -> str:
    """Nothing is answered: a join-accept without a session kept would lose the node."""
    from drivers.lora.gwmp.packets import PullData, PushData, Rubbish, parse

    host, _, number = str(options.get("listen") or "127.0.0.1:1700").rpartition(":")
    allowed = {str(eui).lower() for eui in options.get("gateways") or ()}
    heard: set[str] = set()
    frames = 0
    loop = asyncio.get_running_loop()
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), int(number), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as port, contextlib.suppress(TimeoutError):
            port.setblocking(False)
            port.bind(address)
            async with asyncio.timeout(seconds):
                while not heard or not heard >= allowed:
                    with contextlib.suppress(Rubbish):
                        datagram = parse(await loop.sock_recv(port, 4096))
                        if isinstance(datagram, PullData | PushData):
                            heard.add(datagram.gateway.lower())
                        frames += len(datagram.packets) if isinstance(datagram, PushData) else 0
    except OSError as error:
        raise WireError(f"UDP {host}:{number}: {error.strerror or error}") from error
    where = f"listening on UDP {host}:{number}"
    if not heard:
        return f"{where}: no gateway heard in {seconds:.0f} s; does its packet forwarder send here?"
    said = f"{where}: gateway {', '.join(sorted(heard))} is there"
    if allowed and not heard & allowed:
        return f"{where}: only gateway {', '.join(sorted(heard))} was heard, which is not in `gateways`"
    return f"{said}, {frames} frames heard" if frames else said


async def _chirpstack(options: Mapping[str, Any], clock: Clock, seconds: float) -> str:
    from drivers.broker_link import first_message
    from drivers.lora.chirpstack.events import LARGEST, Topics

    topics = Topics(options["event_topic"], options["command_topic"], options["application"])
    broker, message = await first_message(
        options, topics.subscription, LARGEST, clock, log, "network server", seconds
    )  # fmt: skip
    if message is None:
        return f"connected to {broker}, listening: nothing heard in {seconds:.0f} s"
    return f"connected to {broker}; heard {message.topic}"


async def _rak(options: Mapping[str, Any], _clock: Clock, _seconds: float) -> str:
    """An answer to AT, whatever it is; no setting is touched."""
    from drivers.lora.port import LinePort

    port = LinePort(str(options["port"]), int(options.get("baudrate") or 115_200))
    port.open()
    try:
        for _ in range(4):
            port.send("AT")
            if await port.line(1.0) is not None:
                return f"a modem answers at {port.name}"
    finally:
        port.close()
    raise WireError(f"no modem answers at {port.name}; are its baudrate, its wiring and its power right?")


async def _line(options: Mapping[str, Any], clock: Clock, seconds: float) -> str:
    from drivers.lora.port import LinePort

    pattern = Pattern(options["pattern"])
    port = LinePort(str(options["port"]), int(options.get("baudrate") or 115_200))
    port.open()
    lines = 0
    end = clock.monotonic() + seconds
    try:
        while (left := end - clock.monotonic()) > 0:
            line = await port.line(left)
            if line is not None and pattern.search(line):
                return f"listening at {port.name}: a packet was heard"
            lines += line is not None
    except TooSlow as error:
        raise WireError(f"`pattern` is too slow for a line that came at {port.name}: {error}") from None
    finally:
        port.close()
    other = f"; {lines} lines came that `pattern` does not find" if lines else ""
    return f"listening at {port.name}: nothing heard in {seconds:.0f} s{other}"
