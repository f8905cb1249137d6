"""The agent's socket: who asks is known, rubbish gets an answer, and nobody there is said so."""

import asyncio
import json
import os

import pytest

from agent.errors import BocageError
from agent.runtime.socket import NoAgent, SocketServer, connect


async def echo(request, who):
    if request.get("fail"):
        raise BocageError("no such point")
    return {"got": request, "who": who}


@pytest.mark.parametrize("depth", [0, 12], ids=["short path", "path beyond 108 bytes"])
async def test_a_request_is_answered_and_its_origin_known(tmp_path, depth):
    folder = tmp_path.joinpath(*["a-folder-of-a-name"] * depth)
    folder.mkdir(parents=True, exist_ok=True)
    async with SocketServer(folder, {"echo": echo}).listening():
        assert (folder / "agent.sock").stat().st_mode & 0o777 == 0o600
        async with connect(folder) as agent:
            answer = await agent.request({"do": "echo", "x": 1})
            assert answer["got"]["x"] == 1
            assert answer["who"].startswith(f"uid {os.getuid()}")
            with pytest.raises(BocageError, match="no such point"):
                await agent.request({"do": "echo", "fail": True})
    assert not (folder / "agent.sock").exists()


async def test_what_is_meant_for_another_site_is_not_carried_out(tmp_path):
    done = []

    async def write(request, who):
        done.append(request)
        return {}

    async with SocketServer(tmp_path, {"write": write}, "village").listening():
        async with connect(tmp_path, "demo") as agent:
            with pytest.raises(NoAgent, match="no agent runs the site demo here: it runs the site village"):
                await agent.request({"do": "write"})
        assert done == []
        async with connect(tmp_path, "village") as agent:
            await agent.request({"do": "write"})
        assert len(done) == 1


async def test_without_an_agent_it_says_so(tmp_path):
    with pytest.raises(NoAgent, match="no agent is running"):
        async with connect(tmp_path):
            pass


@pytest.mark.parametrize(
    "line",
    [
        b"rubbish\n", b"[]\n", b'{"do": 3}\n', b'{"do": []}\n', b'"\xff"\n', b'{"do": "stop"}\n',
        b"[" * 100_000 + b"\n", b'{"do":' * 100_000 + b"\n",
    ],
    ids=lambda line: line[:20].decode(errors="replace").strip(),
)  # fmt: skip
async def test_rubbish_gets_an_error_and_the_next_request_is_served(tmp_path, line):
    async with SocketServer(tmp_path, {"echo": echo}).listening():
        reader, writer = await asyncio.open_unix_connection(tmp_path / "agent.sock")
        writer.write(line + b'{"do": "echo"}\n')
        first, second = json.loads(await reader.readline()), json.loads(await reader.readline())
        assert first["ok"] is False
        assert "echo" in first["error"]
        assert second["ok"] is True
        writer.close()


async def test_a_request_that_cannot_be_carried_out_gets_an_answer_and_one_line_in_the_journal(tmp_path, caplog):
    async def lengths(request, who):
        return {"lengths": [len(text) for text in request["texts"]]}

    async with SocketServer(tmp_path, {"lengths": lengths}).listening(), connect(tmp_path) as agent:
        for texts in (1, [1], None):
            with pytest.raises(BocageError, match=r'"lengths" could not be carried out \(TypeError'):
                await agent.request({"do": "lengths", "texts": texts})
        assert (await agent.request({"do": "lengths", "texts": ["ab"]}))["lengths"] == [2]
    assert [(one.levelname, one.exc_info) for one in caplog.records] == [("WARNING", None)] * 3


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (b'{"ok": true, "points": [{"id"', "went away in the middle of its answer"),
        (b"", "the agent went away$"),
        (b"SSH-2.0-OpenSSH_9.2\n", "is not the agent"),
        (b"\xff\xfe\n", "is not the agent"),
        (b"[1]\n", "is not the agent"),
        (b"{}\n", "is not the agent"),
        (b"[" * 100_000 + b"\n", "is not the agent"),
        (b"x" * (17 << 20), "is not the agent"),
    ],
    ids=["killed while it answers", "gone", "text", "bytes", "a list", "no verdict", "deep", "without end"],
)
async def test_an_answer_that_is_none_is_said_so(tmp_path, said, means):
    async def answer(reader, writer):
        await reader.readline()
        writer.write(said)
        writer.close()

    tmp_path.chmod(0o700)
    async with await asyncio.start_unix_server(answer, tmp_path / "agent.sock"), connect(tmp_path) as agent:
        with pytest.raises(NoAgent, match=means):
            await agent.request({"do": "status"})


async def test_an_answer_of_another_version_is_said(tmp_path):
    async with SocketServer(tmp_path, {"echo": echo}).listening(), connect(tmp_path) as agent:
        answer = await agent.request({"do": "echo", "deep": {"x": 1}})
        for place in (answer, answer["got"]["deep"]):
            assert place.get("applied") is None
            with pytest.raises(BocageError, match='answer has no "applied": it is of another version; restart it'):
                place["applied"]


async def test_a_folder_in_the_place_of_the_socket_costs_no_control(tmp_path, caplog):
    (tmp_path / "agent.sock").mkdir()
    async with SocketServer(tmp_path, {"echo": echo}).listening():
        pass
    assert "no commands from this box" in caplog.text and "Is a directory" in caplog.text
