"""An upgrade that does not stay READY for a minute goes back by itself; systemctl and sleep are stand-ins."""

from __future__ import annotations

import configparser
import os
import subprocess
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[2]

SYSTEMCTL = """#!/bin/sh
# What the unit does is in `states`, a line a look: ActiveState, InvocationID and, where it crashed, NRestarts; the last
# line holds from then on.
cd {here}
echo "$*" >>calls
case "$*" in
*ActiveState*) head -n 1 states | cut -d ' ' -f 1 ;;
*InvocationID*) head -n 1 states | cut -d ' ' -f 2 ;;
*NRestarts*)
    head -n 1 states | cut -s -d ' ' -f 3
    echo look >>looks
    [ "$(wc -l <states)" -le 1 ] || sed -i 1d states ;;
"start bocage-upgrade.service") BOCAGE_GUARD_ROOT={root} exec {root}/usr/lib/bocage/upgrade-guard {root}/opt/bocage ;;
esac
"""


class Box:
    """A scratch root, a service manager that says what it is told to say, and time that passes in no time."""

    def __init__(self, folder: Path) -> None:
        self.root, self.here = folder / "root", folder / "bin"
        for name in ("opt", "usr/lib/systemd/system", "usr/lib/bocage", "etc/bocage", "var/lib/bocage"):
            (self.root / name).mkdir(parents=True)
        self.here.mkdir()
        self._tool("systemctl", SYSTEMCTL.format(here=self.here, root=self.root))
        self._tool("sleep", "#!/bin/sh\n")
        (self.here / "calls").touch()
        (self.root / "etc/bocage/site.yaml").write_text("# mine")
        (self.root / "var/lib/bocage/outbox.db").write_text("readings")

    def _tool(self, name: str, text: str) -> None:
        (self.here / name).write_text(text)
        (self.here / name).chmod(0o755)

    def version(self, name: str, text: str) -> None:
        """An environment beside the place of installation, and its unit."""
        folder = self.root / "opt" / name
        (folder / "units").mkdir(parents=True)
        (folder / "pyvenv.cfg").write_text(text)
        (folder / "units/bocage.service").write_text(f"# unit of {text}")

    def runs(self, *states: str) -> None:
        (self.here / "states").write_text("\n".join(states) + "\n")

    @property
    def installed(self) -> str:
        return (self.root / "opt/bocage/pyvenv.cfg").read_text()

    @property
    def calls(self) -> list[str]:
        return [call for call in (self.here / "calls").read_text().splitlines() if not call.startswith("show ")]

    def do(self, *command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.here}:{os.environ['PATH']}"
        return subprocess.run(
            command, env={**os.environ, "MAKEFLAGS": "", "PATH": path, **environ},
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip

    def guard(self) -> subprocess.CompletedProcess[str]:
        return self.do(CLONE / "scripts/upgrade-guard", self.root / "opt/bocage", BOCAGE_GUARD_ROOT=str(self.root))


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
def upgraded(box: Box) -> Box:
    box.version("bocage", "new")
    box.version("bocage.old", "old")
    return box


def test_a_minute_of_one_life_and_the_version_before_is_removed(upgraded: Box) -> None:
    upgraded.runs("activating -", *["active one"] * 10, "activating -", "active two")
    done = upgraded.guard()
    assert (done.returncode, upgraded.installed) == (0, "new")
    assert [path.name for path in (upgraded.root / "opt").iterdir()] == ["bocage"]
    assert "ready for 60 s" in done.stderr
    assert upgraded.calls == []


@pytest.mark.parametrize(
    "states",
    [
        ["failed -"],
        ["activating -"],
        ["active 1", "active 1", "failed -"],
        [f"active {life // 20}" for life in range(300)],
        [f"active {life} {life}" for life in range(300)],
    ],
    ids=["wrong file", "never ready", "dies at once", "a life of forty seconds, again and again", "a crash loop"],
)
def test_the_version_before_comes_back_with_its_unit_and_loudly(upgraded: Box, states: list[str]) -> None:
    upgraded.runs(*states)
    done = upgraded.guard()
    assert (done.returncode, upgraded.installed) == (1, "old")
    assert "GOING BACK" in done.stderr
    assert [path.name for path in (upgraded.root / "opt").iterdir()] == ["bocage"]
    assert (upgraded.root / "usr/lib/systemd/system/bocage.service").read_text() == "# unit of old"
    assert upgraded.calls == [
        "stop bocage.service", "daemon-reload", "reset-failed bocage.service", "start bocage.service",
    ]  # fmt: skip


def test_a_crash_loop_is_not_watched_for_four_minutes(upgraded: Box) -> None:
    """The box is without control while it lasts. Restarts before the upgrade, and a restart by hand, are none of it."""
    crashing = [f"activating {life} {life}" for life in (7, 8, 0, 1, 2, 3, 4, 5)]
    upgraded.runs(*crashing)
    done = upgraded.guard()
    assert (done.returncode, upgraded.installed) == (1, "old")
    assert "crashed 5 times" in done.stderr
    assert len((upgraded.here / "looks").read_text().splitlines()) == len(crashing) - 1, "a look is every 2 s"


def test_a_crash_or_two_before_a_quiet_minute_is_no_reason_to_go_back(upgraded: Box) -> None:
    upgraded.runs("active a 3", "activating b 4", "activating c 5", "active d 5")
    assert upgraded.guard().returncode == 0
    assert upgraded.installed == "new"


def test_a_service_that_somebody_stopped_is_not_judged(upgraded: Box) -> None:
    upgraded.runs("active 1", "inactive -")
    assert upgraded.guard().returncode == 0
    assert (upgraded.installed, (upgraded.root / "opt/bocage.old").is_dir()) == ("new", True)


def test_a_power_cut_between_two_renames_leaves_no_box_without_a_program(box: Box) -> None:
    box.version("bocage.old", "old")
    box.runs(*[f"activating {life} {life}" for life in range(9)])
    assert box.guard().returncode == 1
    assert [path.name for path in (box.root / "opt").iterdir()] == ["bocage"]
    assert box.installed == "old"


def test_at_boot_the_guard_waits_for_the_start_of_what_it_judges() -> None:
    """After a power cut: a service still waiting for its partition is inactive, and would pass for a stopped one."""
    unit = configparser.ConfigParser(strict=False)
    unit.read(CLONE / "systemd/bocage-upgrade.service")
    assert "bocage.service" in unit["Unit"]["After"].split()


def install(box: Box, live: str = "1") -> subprocess.CompletedProcess[str]:
    return box.do(
        "make", "-C", str(CLONE), "install", f"DESTDIR={box.root}", "LOCKED=0", LIVE=live, PIP_NO_DEPS="1"
    )


@pytest.mark.slow
def test_make_install_waits_for_the_verdict_and_fails_with_it(box: Box) -> None:
    """A first installation, an upgrade that fails, and those that come after it."""
    box.runs("inactive -")
    assert install(box, "0").returncode == 0
    first = (box.root / "opt/bocage").stat().st_ino
    (box.root / "usr/lib/systemd/system/bocage.service").write_text("# as it was")

    box.runs("active 1", "active 1", "failed -")
    done = install(box)
    assert done.returncode != 0
    assert "THE NEW VERSION DID NOT STAY READY" in done.stderr
    assert (box.root / "opt/bocage").stat().st_ino == first
    assert (box.root / "usr/lib/systemd/system/bocage.service").read_text() == "# as it was"
    assert "restart bocage.service" in box.calls

    box.runs("active 2")
    assert install(box).returncode == 0
    second = (box.root / "opt/bocage").stat().st_ino
    assert second != first

    box.runs("failed -")  # before the upgrade, for its site file is wrong and none was ever applied
    done = install(box)
    assert (done.returncode, "next: sudoedit" in done.stdout) == (0, True), done.stderr
    assert (box.root / "opt/bocage").stat().st_ino != second
    assert [path.name for path in (box.root / "opt").iterdir()] == ["bocage"]
    assert (box.root / "etc/bocage/site.yaml").read_text() == "# mine"
    assert (box.root / "var/lib/bocage/outbox.db").read_text() == "readings"
