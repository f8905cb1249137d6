"""The newcomer's commands: what they install, what they say, and that CI runs what the README says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[2]


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A PATH with little in it: a machine of which everything can be said."""
    for name in ("sh", "bash", "dirname", "mktemp", "rm", "tail", "cat", "env", "make", "sed"):
        (tmp_path / name).symlink_to(_which(name))
    return tmp_path


def tool(box: Path, name: str, script: str) -> None:
    """A stand-in for a program, that writes down how it was called."""
    path = box / name
    path.unlink(missing_ok=True)
    path.write_text(f'#!/bin/sh\necho "{name} $*" >> {box}/calls\n{script}\n')
    path.chmod(0o755)


def calls(box: Path) -> list[str]:
    return (box / "calls").read_text().splitlines() if (box / "calls").exists() else []


def run(box: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CLONE / "scripts" / script, *arguments],
        env={"PATH": str(box), "TMPDIR": str(box)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def has(box: Path, *packages: str) -> None:
    """Only these Debian packages are installed, as dpkg-query says it."""
    lines = "".join(f"{name}) printf installed;; " for name in packages)
    tool(box, "dpkg-query", f"shift 3; case $1 in {lines} *) exit 1;; esac")


def test_nothing_missing_nothing_done(box: Path) -> None:
    has(box, "socat")
    answer = run(box, "packages", "make test", "socat")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert not [call for call in calls(box) if not call.startswith("dpkg-query")]


def test_only_what_is_missing_is_installed_after_one_update(box: Path) -> None:
    has(box, "socat")
    tool(box, "id", "echo 0")
    tool(box, "apt-get", "")
    answer = run(box, "packages", "make test", "socat", "mosquitto", "gcc")
    assert answer.returncode == 0, answer.stderr
    apt = [call for call in calls(box) if call.startswith("apt-get")]
    assert len(apt) == 2
    assert apt[0].endswith(" update")
    assert apt[1].endswith("install --no-install-recommends mosquitto gcc")
    assert "installing mosquitto gcc (make test)" in answer.stdout


def test_an_ordinary_user_goes_through_sudo(box: Path) -> None:
    has(box)
    tool(box, "id", "echo 1000")
    tool(box, "apt-get", "")
    tool(box, "sudo", 'exec "$@"')
    assert run(box, "packages", "make test", "gcc").returncode == 0
    assert any(call.startswith("sudo env DEBIAN_FRONTEND=noninteractive apt-get") for call in calls(box))


def test_without_root_and_sudo_the_packages_are_named(box: Path) -> None:
    has(box)
    tool(box, "id", "echo 1000")
    tool(box, "apt-get", "")
    answer = run(box, "packages", "make test", "mbpoll", "socat")
    assert answer.returncode == 1
    assert "apt-get install mbpoll socat" in answer.stderr


def test_a_failed_installation_shows_why(box: Path) -> None:
    has(box)
    tool(box, "id", "echo 0")
    tool(box, "apt-get", 'echo "E: Unable to locate package"; exit 100')
    answer = run(box, "packages", "make test", "mbpoll")
    assert answer.returncode == 1
    assert "E: Unable to locate package" in answer.stderr


def test_an_old_python_is_refused_with_a_way_out(box: Path) -> None:
    tool(box, "python3", 'case "$1" in -V) echo "Python 3.9.2";; *) exit 1;; esac')
    answer = run(box, "venv", "python3", str(box / "v"), "x")
    assert answer.returncode == 1
    assert "3.11 or newer, and python3 is Python 3.9.2" in answer.stderr
    assert "make PYTHON=" in answer.stderr


def test_a_missing_python3_venv_is_installed(box: Path) -> None:
    has(box)
    tool(box, "id", "echo 0")
    tool(box, "apt-get", f'case "$*" in *install*) touch {box}/there;; esac')
    (box / "touch").symlink_to(_which("touch"))
    tool(
        box,
        "python3",
        f'case "$2" in *ensurepip*) [ -e {box}/there ] || exit 1;; venv) exit 3;; esac',
    )
    answer = run(box, "venv", "python3", str(box / "v"), "x")
    assert any(call.endswith("install --no-install-recommends python3-venv") for call in calls(box)), answer.stderr
    assert any(call.startswith("python3 -m venv --clear") for call in calls(box))


def test_make_alone_lists_the_targets() -> None:
    answer = subprocess.run(["make", "-C", CLONE], capture_output=True, text=True, timeout=30, check=True)
    for target in ("demo", "test", "bench", "install", "uninstall"):
        assert f"make {target} " in answer.stdout


def test_demo_runs_for_the_seconds_that_were_asked() -> None:
    answer = subprocess.run(
        ["make", "-C", CLONE, "-n", "demo", "SECONDS=90"],
        env={**os.environ, "MAKEFLAGS": ""}, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert "bocage demo --seconds 90" in answer.stdout


def test_ci_runs_what_the_readme_says() -> None:
    assert "make --no-print-directory test" in (CLONE / ".ci/run").read_text()
    readme = (CLONE / "README.md").read_text()
    assert "make test" in readme
    assert "make demo" in readme


def _which(name: str) -> str:
    for folder in ("/usr/bin", "/bin"):
        if (Path(folder) / name).exists():
            return f"{folder}/{name}"
    pytest.skip(f"no {name} on this machine")


REFUSED = "ERROR: No matching distribution found for aiomqtt==2.5.1"


@pytest.mark.parametrize(
    ("pip", "said", "end"),
    [
        (f"WARNING: Retrying (Retry(total=0, connect=None)) after 'NewConnectionError'\n{REFUSED}", "network up?", 75),
        (f"Could not fetch URL: There was a problem confirming the ssl certificate\n{REFUSED}", "clock right", 75),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "no room: df", 75),
        (f"WARNING: Retrying (Retry(total=4, connect=None)) after 'NewConnectionError'\n{REFUSED}", REFUSED, 1),
    ],
    ids=["no network", "a wrong clock", "a full disk", "a fault of the packages"],
)
def test_when_pip_fails_for_want_of_something_the_last_line_names_it(box: Path, pip: str, said: str, end: int) -> None:
    for name in ("grep", "date"):
        (box / name).symlink_to(_which(name))
    (box / "said").write_text(pip)
    tool(box, "python", f'case $* in *"pip install"*) cat {box}/said; exit 1 ;; esac')
    (box / "venv/bin").mkdir(parents=True)
    (box / "venv/bin/python").symlink_to(box / "python")
    answer = run(box, "venv", "python", str(box / "venv"), ".")
    assert (answer.returncode, said in answer.stderr.splitlines()[-1]) == (end, True), answer.stderr


def test_a_python_that_went_away_with_an_upgrade_is_replaced(tmp_path: Path) -> None:
    """Of the clone's environment, though it was whole and is newer than what it is made from."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("/usr/bin/python3.2")
    (tmp_path / ".test").touch()
    (tmp_path / ".demo").touch()
    for target in (".test", ".demo"):
        command = ["make", "-n", "-C", CLONE, f"VENV={tmp_path}", f"{tmp_path}/{target}"]
        done = subprocess.run(command, env={**os.environ, "MAKEFLAGS": ""}, capture_output=True, text=True, timeout=60)
        assert "scripts/venv" in done.stdout, done.stdout + done.stderr
