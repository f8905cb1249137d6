"""An agent's socket with answers that are given."""

import asyncio
import threading
from contextlib import contextmanager

import pytest

from agent.runtime.socket import SocketServer


@contextmanager
def _agent_that_says(folder, site="", **answers):
    folder.mkdir()
    ready, end, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()

    def answering(answer):
        async def handler(request, who):
            return answer

        return handler

    async def serve():
        handlers = {name: answering(answer) for name, answer in answers.items()}
        async with SocketServer(folder, handlers, site).listening():
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(5)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(5)
        loop.close()


@pytest.fixture
def agent_that_says():
    """`with agent_that_says(folder, status={…}):` somebody listens on its agent.sock."""
    return _agent_that_says
