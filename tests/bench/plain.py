"""What Bocage is measured against: the script that one would write in an afternoon.

pymodbus and aiomqtt as their manuals show them; one message for each device and poll at QoS 1, in JSON; no buffer: what
is polled while the broker is away is lost.

    python plain.py tcp BROKER_PORT FIRST_PORT DEVICES PERIOD
    python plain.py rtu TERMINAL UNITS REGISTERS
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress

import aiomqtt
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

REGISTERS = 50
RECONNECT = 5.0  # seconds, as in aiomqtt's manual ("Reconnection")


class Link:
    """The broker, while it is there."""

    def __init__(self) -> None:
        self.client: aiomqtt.Client | None = None

    async def run(self, port: int) -> None:
        while True:
            with suppress(aiomqtt.MqttError):
                async with aiomqtt.Client("127.0.0.1", port) as self.client:
                    async for _ in self.client.messages:
                        pass
            self.client = None
            await asyncio.sleep(RECONNECT)


async def poll(link: Link, name: str, port: int, period: float) -> None:
    device = AsyncModbusTcpClient("127.0.0.1", port=port)
    await device.connect()
    due = time.monotonic()
    while True:
        answer = await device.read_holding_registers(0, count=REGISTERS, device_id=1)
        values = {f"r{index}": value for index, value in enumerate(answer.registers)}
        message = json.dumps({"device": name, "t": time.time_ns() // 1_000_000, **values})
        if link.client is not None:
            with suppress(aiomqtt.MqttError):
                await link.client.publish(f"plain/{name}", message, qos=1)
        due += period
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def tcp(broker: int, first: int, devices: int, period: float) -> None:
    link = Link()
    async with asyncio.TaskGroup() as group:
        group.create_task(link.run(broker))
        for index in range(devices):
            group.create_task(poll(link, f"d{index}", first + index, period))
            await asyncio.sleep(period / devices)  # spread, as ours are


async def rtu(terminal: str, units: int, registers: int) -> None:
    line = AsyncModbusSerialClient(terminal, baudrate=9600)
    await line.connect()
    while True:
        for unit in range(1, units + 1):
            await line.read_holding_registers(0, count=registers, device_id=unit)


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    if kind == "tcp":
        asyncio.run(tcp(int(rest[0]), int(rest[1]), int(rest[2]), float(rest[3])))
    else:
        asyncio.run(rtu(rest[0], int(rest[1]), int(rest[2])))
