"""In the journal a line has its priority and no second time; at a terminal it has the time and the level's name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.fakes.waiting import wait_for

SITE = """\
version: 1
site: {id: journal, name: J, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
"""
TROUBLE = """
import logging
from agent.runtime.logs import log_to_stderr
log_to_stderr("info")
log = logging.getLogger("bocage.test")
log.info("fine"), log.warning("hm\\x1b[2J\\nsecond")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
log.critical("the end")
"""


def said(folder: Path, *command: str, journal: bool) -> list[str]:
    with (folder / "stderr").open("w+") as stream:
        at = os.fstat(stream.fileno())
        where = f"{at.st_dev}:{at.st_ino + (not journal)}"
        subprocess.run([sys.executable, *command], stderr=stream, check=False, timeout=30,
                       env={**os.environ, "JOURNAL_STREAM": where})  # fmt: skip
        return (folder / "stderr").read_text().splitlines()


def test_the_journal_gets_priorities(tmp_path: Path) -> None:
    lines = said(tmp_path, "-c", TROUBLE, journal=True)
    assert lines[:2] == ["<6>bocage.test fine", r"<4>bocage.test hm\x1b[2J\nsecond"]
    assert lines[2:4] == ["<3>bocage.test broken", "<3>Traceback (most recent call last):"]
    assert all(line.startswith("<3>") for line in lines[4:-1]) and lines[-1] == "<2>bocage.test the end"


def test_a_stream_that_is_not_the_journals_gets_times(tmp_path: Path) -> None:
    lines = said(tmp_path, "-c", TROUBLE, journal=False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO bocage.test fine", lines[0])


def test_the_agents_own_lines(tmp_path: Path) -> None:
    """A site without an uplink is a warning that `journalctl -p warning` shows."""
    site, shown = tmp_path / "site.yaml", tmp_path / "stderr"
    site.write_text(SITE)
    folders = ("--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run"))
    with shown.open("w") as stream:
        at = os.fstat(stream.fileno())
        agent = subprocess.Popen([sys.executable, "-m", "agent", "run", str(site), *folders], stderr=stream,
                                 env={**os.environ, "JOURNAL_STREAM": f"{at.st_dev}:{at.st_ino}"})  # fmt: skip
        try:
            wait_for(lambda: "agent runs" in shown.read_text())
        finally:
            agent.terminate()
            agent.wait()
    lines = shown.read_text().splitlines()
    assert [line for line in lines if line.startswith("<4>bocage.app no uplink in the site file")]
    assert all(re.match(r"<[2-7]>bocage\.", line) for line in lines)


def test_at_a_terminal_the_agents_lines_have_site_time(tmp_path: Path) -> None:
    site, shown = tmp_path / "site.yaml", tmp_path / "stderr"
    site.write_text(SITE.replace("Europe/Paris", "Pacific/Tahiti"))
    folders = ("--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run"))
    with shown.open("w") as stream:
        agent = subprocess.Popen([sys.executable, "-m", "agent", "run", str(site), *folders], stderr=stream,
                                 env={**os.environ, "TZ": "UTC"})  # fmt: skip
        try:
            wait_for(lambda: "agent runs" in shown.read_text())
        finally:
            agent.terminate()
            agent.wait()
    line = next(line for line in shown.read_text().splitlines() if "agent runs" in line)
    said = datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=ZoneInfo("Pacific/Tahiti"))
    assert abs(datetime.now(UTC) - said) < timedelta(hours=1), "not the machine's UTC, which is ten hours on"
