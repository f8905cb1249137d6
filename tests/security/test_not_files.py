"""A pipe or a device in the place of a file is neither waited for nor read without end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SITE = (ROOT / "tests/security/site.yaml").read_text()
UPLINK = "uplink: {url: 'mqtts://localhost', username: u, password: {file: %s}}\n"
TOO_LONG = 60
"""Seconds; each of these takes less than one."""


def bocage(folder, *arguments):
    """The command, with 2 GB: what reads on without end fails instead of taking the machine down."""
    told = f'ulimit -v 2000000; exec "{sys.executable}" -P -m agent "$@"'
    done = subprocess.run(["bash", "-c", told, "bocage", *map(str, arguments)], cwd=folder, capture_output=True,
                          text=True, check=False, timeout=TOO_LONG)  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def put(kind, path):
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_secret_that_is_no_file_is_said_at_its_line(tmp_path, kind):
    put(kind, tmp_path / "password")
    (tmp_path / "site.yaml").write_text(SITE + UPLINK % "password")
    done = bocage(tmp_path, "check", "site.yaml")
    assert "site.yaml:6:" in done.stdout + done.stderr
    assert "it is no file" in done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", ["state.json", "commands.ids", "outbox.db", "applied/applied.json"])
@pytest.mark.parametrize("command", ["stop-outputs", "buffer"])
def test_what_stands_in_the_place_of_a_file_of_the_state_ends_no_command(tmp_path, command, name, kind):
    (tmp_path / "site.yaml").write_text(SITE)
    put(kind, tmp_path / "state" / name)
    (tmp_path / "state").chmod(0o700)
    bocage(tmp_path, command, "site.yaml", "--state-dir", "state", "--runtime-dir", "run")


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", ["1.stage", "numbers.mark", "numbers.new"])
def test_nor_does_what_stands_in_the_place_of_the_stage(tmp_path, name, kind):
    (tmp_path / "site.yaml").write_text(SITE)
    put(kind, tmp_path / "run" / name)
    bocage(tmp_path, "stop-outputs", "site.yaml", "--state-dir", "state", "--runtime-dir", "run")


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_nor_does_a_certificate_that_is_none_hold_up_a_link(tmp_path, name, kind):
    put(kind, tmp_path / name)
    pem = ROOT / "tests/security/site.yaml"  # a file, though no certificate: what is no file is found before
    files = {"ca": None, "cert": pem, "key": pem, name: tmp_path / name}
    said = "from pathlib import Path; from agent.lib.tls import client_context\ntry: client_context(%s)\n"
    told = said % ", ".join(f"Path({str(path)!r})" if path else "None" for path in files.values())
    told += "except OSError as error: print(error.strerror)"
    done = subprocess.run([sys.executable, "-P", "-c", told], capture_output=True, text=True, check=False,
                          timeout=TOO_LONG)  # fmt: skip
    assert done.stdout == "it is no file\n", done.stderr
