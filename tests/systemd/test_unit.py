"""The unit as systemd reads it. `verify` wants ExecStart to exist, so a rendered copy is tested."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = (SYSTEMD / "bocage.service").read_text()
DIRECTIVES = [line for line in UNIT.splitlines() if re.match(r"[A-Z]\w+=", line)]

needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on this machine")


def values(name: str) -> list[str]:
    return [line.partition("=")[2] for line in DIRECTIVES if line.partition("=")[0] == name]


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    program = tmp_path / "opt/bocage/bin/bocage"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "bocage.service"
    unit.write_text(UNIT.replace("/opt/bocage/bin/bocage", str(program)))
    return unit


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


@needs_analyze
def test_verify_has_nothing_to_say(rendered: Path) -> None:
    answer = analyze("verify", "--man=no", str(rendered))
    assert (answer.returncode, answer.stderr.strip()) == (0, "")


@needs_analyze
def test_exposure_is_low(rendered: Path) -> None:
    answer = analyze("security", "--offline=true", "--no-pager", str(rendered))
    found = re.search(r"Overall exposure level for bocage.service: ([\d.]+)", answer.stdout)
    assert found, answer.stderr
    assert float(found[1]) <= 1.5, answer.stdout


def test_every_wire_is_allowed_by_its_name_in_proc_devices() -> None:
    """`verify` is silent about a wrong group, and the driver would then be refused its port."""
    assert values("DevicePolicy") == ["closed"]
    assert values("DeviceAllow") == [
        f"char-{group} rw" for group in ("ttyUSB", "ttyACM", "ttyAMA", "ttyS", "gpiochip", "spi")
    ]


def test_a_hung_agent_lets_go_of_the_burner_in_30_seconds() -> None:
    (watchdog,), (abort,) = values("WatchdogSec"), values("TimeoutAbortSec")
    assert int(watchdog) + int(abort) <= 25
    assert values("ExecStopPost")[0].endswith("/bocage stop-outputs /etc/bocage/site.yaml")


def test_restarts_go_on_for_ever_but_not_for_a_wrong_site_file() -> None:
    assert values("Restart") == ["always"]
    assert values("StartLimitIntervalSec") == ["0"]
    assert values("RestartPreventExitStatus") == ["78"]


def test_memory_and_tasks_are_bounded_and_a_codec_takes_nobody_along() -> None:
    """OOMPolicy's default, stop, would end the agent for a child that the kernel killed."""
    bounds = values("MemoryMax") + values("TasksMax") + values("OOMPolicy")
    assert bounds == ["300M", "64", "continue"]


def test_lamps_do_not_wait_for_the_network_nor_for_the_time() -> None:
    ordered = " ".join(values("After") + values("Wants") + values("Requires"))
    assert "network" not in ordered
    assert "time-sync" not in ordered


def test_every_credential_has_a_fallback() -> None:
    """A LoadCredential file that is missing stops the unit; SetCredential of the same name is used instead."""
    loaded = {value.partition(":")[0] for value in values("LoadCredential")}
    fallback = {value.partition(":")[0] for value in values("SetCredential")}
    assert loaded
    assert loaded == fallback


def test_the_stage_file_outlives_the_process() -> None:
    assert values("RuntimeDirectoryPreserve") == ["yes"]


def test_the_user_is_in_the_groups_of_its_wires() -> None:
    lines = [line.split() for line in (SYSTEMD / "bocage.sysusers").read_text().splitlines()]
    assert {line[2] for line in lines if line[:2] == ["m", "bocage"]} == {"dialout", "gpio", "spi"}


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="no systemd-sysusers on this machine")
def test_sysusers_and_tmpfiles_are_understood(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    users = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "bocage.sysusers"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (users.returncode, "bocage:" in (tmp_path / "etc/passwd").read_text()) == (0, True), users.stderr
    groups = (tmp_path / "etc/group").read_text()
    assert all(re.search(rf"^{group}:.*bocage$", groups, re.M) for group in ("dialout", "gpio", "spi"))
    files = subprocess.run(
        ["systemd-tmpfiles", "--create", f"--root={tmp_path}", SYSTEMD / "bocage.tmpfiles"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert files.returncode == 0, files.stderr
    assert (tmp_path / "etc/bocage/secrets").is_dir()
