"""A command that a message names works when it is copied: here, with these files, without a venv in PATH."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agent.lib import hints

KEYED = """\
version: 1
site: {id: keys, name: K, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
buses: {lora: {type: lora_gwmp, listen: "127.0.0.1:1700"}}
devices:
  n: {bus: lora, dev_eui: 0102030405060708, app_key: {file: a key}, profile: milesight_em300_th, interval: 10min}
"""
RADIO = """\
version: 1
site: {id: air, name: A, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
buses: {air: {type: lora_chirpstack, url: "mqtt://127.0.0.1:1", application: a}}
"""
NODE = 'devices: {n: {bus: air, dev_eui: "0102030405060708", profile: milesight_em300_th}}\n'


@pytest.fixture
def shell(tmp_path):
    """A shell in a folder with a blank in its name; `bocage` is in a folder that PATH does not have."""
    home, venv = tmp_path / "my sites", tmp_path / "a venv"
    home.mkdir()
    venv.mkdir()
    program = venv / "bocage"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom agent.__main__ import main\nsys.exit(main())\n")
    program.chmod(0o755)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "BOCAGE_RUNTIME_DIR": str(tmp_path / "run")}

    def run(command):
        done = subprocess.run(command, shell=True, cwd=home, env=env, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    run.program, run.home = f"'{program}'", home
    return run


def hint(text, before):
    """What stands after `before`, to the end of its line."""
    assert before in text, text
    return text.partition(before)[2].splitlines()[0]


def test_what_init_says(shell):
    code, said = shell(f"{shell.program} init 'a site.yaml'")
    assert code == 0
    assert shell(hint(said, "then: "))[0] == 0
    code, said = shell(f"{shell.program} init 'a site.yaml'")
    assert code == 1
    assert shell(hint(said, "this writes over it: "))[0] == 0


def test_an_empty_file(shell):
    (shell.home / "empty.yaml").touch()
    code, said = shell(f"{shell.program} check empty.yaml")
    assert code == 1
    assert shell(hint(said, "start from: "))[0] == 0
    assert shell(f"{shell.program} check empty.yaml")[0] == 0


@pytest.mark.parametrize("command", ["alarms s.yaml", "watch s.yaml", "write s.yaml km1 on"])
def test_no_agent(shell, command):
    shell(f"{shell.program} init s.yaml")
    code, said = shell(f"{shell.program} {command}")
    assert code == 3
    start = hint(said, "to start it: ")
    assert " run s.yaml" in start
    assert shell(f"{start} --help")[0] == 0


@pytest.mark.parametrize("command", ["read {} n.temperature", "write {} n.temperature 1 --direct"])
def test_a_radio_node_without_an_agent(shell, command):
    (shell.home / "k s.yaml").write_text(RADIO + NODE)
    code, said = shell(f"{shell.program} {command.format(chr(39) + 'k s.yaml' + chr(39))}")
    assert code != 0 and "n is a radio node, which is heard and commanded by a running agent only\n" in said
    start = hint(said, "to start it: ")
    assert " run 'k s.yaml'" in start
    assert shell(f"{start} --help")[0] == 0


@pytest.mark.parametrize(
    ("command", "code", "before"),
    [
        ("init new.yaml", 0, "then: "),
        ("init empty.yaml", 1, "this writes over it: "),
        ("check empty.yaml", 1, "start from: "),
        ("alarms radio.yaml", 3, "to start it: "),
        ("lora radio.yaml devices", 1, "see "),
        ("collect report none.db", 1, "; "),
    ],
)
def test_what_root_is_told_by_sudo_is_for_root_again(shell, command, code, before):
    """What it has written, or found in closed folders, is not the user's."""
    (shell.home / "empty.yaml").touch()
    (shell.home / "radio.yaml").write_text(RADIO)
    assert not hint(shell(f"{shell.program} {command}")[1], before).startswith("sudo")
    (shell.home / "new.yaml").unlink(missing_ok=True)
    found, said = shell(f"SUDO_USER=marie SUDO_UID=1000 {shell.program} {command}")
    assert (found, hint(said, before).startswith(f"sudo {shell.program} ")) == (code, True), said


def test_a_key_that_everybody_can_read(shell):
    (shell.home / "a key").write_text("00112233445566778899aabbccddeeff")
    (shell.home / "a key").chmod(0o644)
    (shell.home / "k.yaml").write_text(KEYED)
    said = shell(f"{shell.program} check k.yaml")[1]
    assert "can be read by every user" in said
    assert shell(hint(said, "this machine; "))[0] == 0
    assert "can be read by every user" not in shell(f"{shell.program} check k.yaml")[1]


@pytest.mark.parametrize(
    ("run", "on_path", "secure", "told", "as_root"),
    [
        ("/opt/bocage/bin/bocage", None, None, "/opt/bocage/bin/bocage", "/opt/bocage/bin/bocage"),
        ("{}/a/bocage", "{}/a/bocage", None, "bocage", "{}/a/bocage"),
        ("{}/a/bocage", "{}/b/bocage", "{}/b/bocage", "{}/a/bocage", "{}/a/bocage"),
        ("{}/a/bocage", "{}/link/bocage", "{}/link/bocage", "bocage", "bocage"),
    ],
    ids=["by its path", "a venv that is activated: sudo does not look there", "another one is found", "installed"],
)
def test_which_bocage(tmp_path, monkeypatch, run, on_path, secure, told, as_root):
    for folder in ("a", "b", "link"):
        (tmp_path / folder).mkdir()
    for folder in ("a", "b"):
        (tmp_path / folder / "bocage").touch()
    (tmp_path / "link" / "bocage").symlink_to(tmp_path / "a" / "bocage")

    def here(text):
        return text and text.format(tmp_path)

    monkeypatch.setattr("sys.argv", [here(run), "check"])
    monkeypatch.setattr("shutil.which", lambda name, path=None: here(on_path if path is None else secure))
    assert hints.ours("check", "a b") == f"{here(told)} check 'a b'"
    assert hints.sudo("check") == f"sudo {here(as_root)} check"
