"""`bocage demo inter-sites`: what its last line says, and the whole of it as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.demo.inter_sites import RESERVOIR, STATION, InterSites, Works, verdict
from agent.site.loader import check

CUT, MEND = 100.0, 125.0
RIGHT = [(80.0, True), (115.0, False), (127.0, True)]


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([], "never ran"),
        ([(110.0, True)], "never ran"),
        ([(80.0, True)], "ran on without a link"),
        ([(80.0, True), (90.0, False), (127.0, True)], "ran on without a link"),
        ([(80.0, True), (124.0, False), (127.0, True)], "stopped only 24 s after the cut"),
        ([(80.0, True), (115.0, False)], "did not run again"),
    ],
)
def test_what_went_wrong_is_said(edges, said):
    code, words = verdict(edges, CUT, MEND)
    assert code == 1 and said in words


def test_what_went_right_is_said():
    assert verdict(RIGHT, CUT, MEND) == (
        0, "the pump stopped 15 s after the cut, and ran again 2 s after the link was back"
    )  # fmt: skip


def test_the_tank_fills_while_the_pump_runs_and_its_edges_are_known():
    works = Works()
    works.step(10, 10.0)
    assert works.level == pytest.approx(29) and works.edges == []
    works.pump.set_bit(0, True)
    works.step(10, 20.0)
    works.step(10, 30.0)
    works.pump.set_bit(0, False)
    works.step(10, 40.0)
    assert works.edges == [(20.0, True), (40.0, False)]
    assert works.tank.words("input", 0, 1) == [round(4000 + 160 * works.level)]


def test_both_site_files_check_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("BOCAGE_RUNTIME_DIR", str(tmp_path / "run"))
    demo = InterSites(tmp_path, 20000, 75)
    for name in (RESERVOIR, STATION):
        demo._prepare(name)
        assert check(tmp_path / f"{name}.yaml") == []


@pytest.mark.slow
def test_the_whole_of_it(tmp_path: Path, unused_tcp_port_factory) -> None:
    first = max(unused_tcp_port_factory() for _ in range(3)) % 60000 + 2000
    environment = {**os.environ, "BOCAGE_DEMO_PORT": str(first), "BOCAGE_RUNTIME_DIR": str(tmp_path / "run")}
    done = subprocess.run(
        [sys.executable, "-m", "agent", "demo", "inter-sites"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"demo: the pump stopped 1\d s after the cut, and ran again \d+ s after", done.stdout)
