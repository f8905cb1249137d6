"""Folders, links and sockets that somebody else has put where we look. As root, with other users at work."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.errors import BocageError
from agent.runtime.folders import NoFolder, locked, open_folder, own_runtime
from agent.runtime.socket import SocketServer, connect

ROOT = Path(__file__).parents[2]
MALLORY, MARIE = 54_321, 54_322
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users are only root's to play")


def played(uid, *arguments, **options):
    """A command as that user."""
    who = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    done = subprocess.run(
        ["setpriv", *who, *arguments], capture_output=True, text=True, check=False, timeout=60, **options
    )
    return done.returncode, done.stdout, done.stderr


def bocage(*arguments):
    return [sys.executable, "-P", "-m", "agent", *map(str, arguments)]


@pytest.fixture
def here():
    """A folder of root's where others may look, with a site file."""
    folder = Path(tempfile.mkdtemp(prefix="bocage-test-", dir="/tmp"))
    folder.chmod(0o755)
    site = (ROOT / "tests/security/site.yaml").read_text()
    (folder / "site.yaml").write_text(site)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def forged(folder, uid):
    """An "agent" of that user, who says that all is well. Gives what he was asked."""
    asked = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "agent.sock"))
        (folder / "agent.sock").chmod(0o666)
        before = os.geteuid()
        os.seteuid(uid)  # the kernel notes who listens
        try:
            server.listen()
        finally:
            os.seteuid(before)
        answer = {"ok": True, "id": "x", "point": "km1", "value": True, "state": "verified", "reason": "", "t": 1}

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(65536))
                    if asked[-1]:
                        connection.sendall(json.dumps(answer).encode() + b"\n")

        threading.Thread(target=serve, daemon=True).start()
        yield asked
        server.shutdown(socket.SHUT_RDWR)


def premade(parent, name, uid):
    folder = parent / name
    folder.mkdir(mode=0o755)
    os.chown(folder, uid, uid)
    return folder


@as_root
@pytest.mark.parametrize("who", [0, MARIE], ids=["root", "a technician"])
@pytest.mark.parametrize("deep", [False, True], ids=["his folder", "a folder in his folder"])
def test_a_forged_agent_is_not_believed(here, who, deep):
    shared = here / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    folder = top = premade(shared, "run", MALLORY)
    if deep:
        folder = premade(top, "village", MARIE)  # he may give it away, and is still who decides
    with forged(folder, MALLORY) as asked:
        code, out, err = played(who, *bocage("write", here / "site.yaml", "km1", "on", "--runtime-dir", folder))
    assert (code, "verified" in out) == (1, False), out + err
    assert f"uid {MALLORY}" in err
    assert not any(asked), "nothing was asked, and no secret told"


@as_root
def test_what_somebody_has_put_into_dev_shm_under_our_number_is_not_ours(here):
    folder = Path(f"/dev/shm/bocage-{MARIE}")
    folder.mkdir()
    try:
        os.chown(folder, MALLORY, MALLORY)
        premade(folder, "village", MALLORY)
        with forged(folder / "village", MALLORY) as asked:
            for command in (("write", "km1", "on"), ("read", "km1"), ("buffer",)):
                code, out, err = played(MARIE, *bocage(command[0], here / "site.yaml", *command[1:]))
                assert (code, "verified" in out, f"uid {MALLORY}" in err) == (1, False, True), out + err
        assert not any(asked)
    finally:
        shutil.rmtree(folder)
    assert not str(own_runtime("village")).startswith("/dev/shm")


@as_root
async def test_whoever_listens_must_be_whose_folder_it_is(here):
    folder = premade(here, "run", MARIE)
    with forged(folder, MALLORY) as asked:
        with pytest.raises(BocageError, match=f"uid {MALLORY} answers there, and the folder is uid {MARIE}'s"):
            async with connect(folder) as agent:
                await agent.request({"do": "write"})
        assert not any(asked)
    (folder / "agent.sock").unlink()
    with forged(folder, MARIE):
        async with connect(folder) as agent:
            assert (await agent.request({"do": "write"}))["state"] == "verified"


@as_root
@pytest.mark.parametrize("name", ["state", "above/state"])
def test_root_follows_nobodys_link(here, name):
    shared, victim = here / "tmp", here / "victim"
    shared.mkdir()
    shared.chmod(0o1777)
    victim.mkdir()
    code, _, err = played(MALLORY, "ln", "-s", str(victim), str(shared / name.partition("/")[0]))
    assert code == 0, err
    with pytest.raises(NoFolder, match=f"uid {MALLORY}"), locked(shared / name):
        pass
    assert list(victim.iterdir()) == []


def test_a_link_of_our_own_is_followed_and_a_link_for_a_lock_is_not(tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to("data")
    with locked(tmp_path / "state"):
        assert (tmp_path / "data/lock").exists()
    (tmp_path / "data/lock").unlink()
    (tmp_path / "data/lock").symlink_to(tmp_path / "other")
    with pytest.raises(NoFolder), locked(tmp_path / "state"):
        pass
    assert not (tmp_path / "other").exists()


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(NoFolder, match="others may write"), locked(tmp_path):
        pass
    tmp_path.chmod(0o1777)
    with pytest.raises(NoFolder, match="others may write"):
        os.close(open_folder(tmp_path))
    tmp_path.chmod(0o755)


@as_root
@pytest.mark.parametrize("command", [("write", "km1", "on", "--direct"), ("stop-outputs",), ("buffer",)])
def test_roots_commands_leave_files_that_the_agents_user_can_open(here, command):
    state, runtime = premade(here, "state", MARIE), premade(here, "run", MARIE)
    places = ("--state-dir", state, "--runtime-dir", runtime)
    for _ in range(2):
        _, out, err = played(0, *bocage(command[0], here / "site.yaml", *command[1:], *places), cwd=here)
        assert "Traceback" not in err, out + err
        assert [str(path) for path in here.rglob("*") if path.stat().st_uid != MARIE and "/state/" in str(path)] == []
        assert {path.stat().st_uid for path in runtime.iterdir()} <= {MARIE}
    if command[0] != "buffer":
        assert (state / "state.json").exists(), out + err


@as_root
@pytest.mark.parametrize("link", ["outbox.db", "commands.ids", "applied"])
@pytest.mark.parametrize("command", [("write", "km1", "on", "--direct"), ("stop-outputs",), ("buffer",), ("run",)])
def test_root_writes_through_no_link_in_a_folder_that_was_given_away(here, command, link):
    state, victim = premade(here, "state", MALLORY), here / "victim"
    victim.touch(mode=0o600)
    code, _, err = played(MALLORY, "ln", "-s", str(victim), str(state / link))
    assert code == 0, err
    places = ("--state-dir", state, "--runtime-dir", here / "run")
    told = bocage(command[0], here / "site.yaml", *command[1:], *places)
    _, out, err = played(0, "timeout", "-s", "INT", "5", *told, cwd=here)
    assert (victim.read_bytes(), victim.stat().st_uid) == (b"", 0), out + err
    assert "Traceback" not in err, out + err


async def test_an_ordinary_user_and_root_talk_to_their_own(tmp_path):
    async def echo(request, who):
        return {"who": who}

    async with SocketServer(tmp_path, {"echo": echo}).listening(), connect(tmp_path) as agent:
        assert (await agent.request({"do": "echo"}))["who"].startswith(f"uid {os.geteuid()}")
