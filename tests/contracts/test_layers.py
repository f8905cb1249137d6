"""The contracts of imports in setup.cfg hold for modules that nobody has written yet."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(tree: Path) -> str:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False, timeout=120).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the program and its contracts."""
    no_data = shutil.ignore_patterns("__pycache__", "*.js", "*.yaml")
    for package in ("agent", "drivers"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=no_data)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "text", "contract"),
    [
        ("agent/newcomer.py", "", "every room has its floor"),
        ("agent/newcomer/__init__.py", "", "every room has its floor"),
        ("agent/lib/newcomer.py", "from agent.core import hub", "every room has its floor"),
        ("agent/services/newcomer/control.py", "from agent.site import loader", "without the models of the site file"),
        ("agent/services/newcomer/control.py", "from agent.arbiter import arbiter", "services is pure"),
        ("agent/services/newcomer/rules.py", "from agent.core import hub", "services is pure"),
        ("agent/services/water/newcomer.py", "from agent.site import loader", "services is pure"),
        ("agent/services/water/newcomer.py", "import time", "services is pure"),
        ("agent/services/water/newcomer.py", "from agent.services.water import config", "no pure module"),
        ("agent/control/newcomer.py", "from agent import clock", "services is pure"),
        ("agent/control/newcomer.py", "from drivers import api", "services is pure"),
        ("agent/control/newcomer.py", "from agent.control import engine", "no pure module"),
        ("agent/services/newcomer/control.py", "from agent.services.water import meter", "none knows another"),
        ("agent/site/newcomer.py", "from agent.services.water import config", "every room has its floor"),
        ("drivers/newcomer.py", "", "every module of drivers/ has its floor"),
        ("drivers/newcomer/__init__.py", "", "every module of drivers/ has its floor"),
        ("drivers/modbus/newcomer.py", "from drivers import gpio", "no driver knows another"),
        ("drivers/modbus/newcomer.py", "from agent.core import hub", "no room of the agent"),
        ("agent/core/newcomer.py", "from drivers import gpio", "reaches a driver by name only"),
        ("agent/uplink/newcomer.py", "from agent.uplink.dialects import native", "knows no dialect by name"),
        ("agent/uplink/newcomer.py", "", "all else is named here"),
        ("agent/uplink/dialects/newcomer.py", "from agent.uplink import uplink", "all else is named here"),
    ],
)
def test_a_new_module_cannot_escape(tree: Path, module: str, text: str, contract: str) -> None:
    path = tree / module
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()
    path.write_text(text + "\n")
    [line] = [line for line in lint(tree).splitlines() if contract in line and ("KEPT" in line or "BROKEN" in line)]
    assert "BROKEN" in line


def test_a_new_dialect_cannot_escape(tree: Path) -> None:
    """Without a line of its own in setup.cfg."""
    (tree / "agent/uplink/dialects/newcomer.py").touch()
    with (tree / "agent/uplink/inbox.py").open("a") as inbox:
        inbox.write("from agent.uplink.dialects import newcomer\n")
    assert "knows no dialect by name: the parts of the agent choose one BROKEN" in lint(tree)


def test_the_program_keeps_its_contracts(tree: Path) -> None:
    assert "0 broken" in lint(tree)
