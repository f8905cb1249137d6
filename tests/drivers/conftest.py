"""A driver as another distribution: the blueprint, copied and installed in a folder that Python looks in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "my-logger"
version = "1.0"
[project.entry-points."bocage.drivers"]
mylogger = "my_logger:MYLOGGER"
[tool.setuptools]
packages = ["my_logger"]
package-data = {my_logger = ["README.md"]}
"""
Bocage = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the copy is installed. Nothing of ours is edited."""
    project, target = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("installed")
    package = project / "my_logger"
    shutil.copytree(ROOT / "drivers" / "_blueprint", package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in package.glob("*.py"):
        text = file.read_text(encoding="utf-8").replace("drivers._blueprint", "my_logger")
        text = re.sub(r'"blueprint"', '"mylogger"', text).replace("Blueprint", "MyLoggerConfig")
        file.write_text(text, encoding="utf-8")
    with (package / "__init__.py").open("a", encoding="utf-8") as file:
        file.write("\nMYLOGGER = DRIVERS[0]\n")
    (project / "pyproject.toml").write_text(PROJECT)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*pip, "--target", target, project], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def environment(installed: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{installed}"}


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Bocage:
    """Run a module of Python beside the installed driver."""

    def started(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *map(str, arguments)]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    return started


def entry_point(folder: Path, name: str, value: str) -> None:
    """A distribution without code, as pip leaves it: an entry point alone."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[bocage.drivers]\n{name} = {value}\n")


class LoggerDevice:
    """A logger with sensors on some of its channels."""

    def __init__(self) -> None:
        self.values, self.outputs = {3: "12.5", 4: "0.7"}, {3: "off", 4: "off"}
        self.asked: list[str] = []
        device = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    self.wfile.write(f"{device._answer(line.decode().strip())}\n".encode())

        self._server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, question: str) -> str:
        self.asked.append(question)
        number, _, word = question[1:].partition(" ")
        channel = int(number)
        if channel not in self.values:
            return "error no sensor"
        if question[0] == "W":
            self.outputs[channel] = word
            return "ok"
        return self.values[channel] if question[0] == "R" else self.outputs[channel]


@pytest.fixture
def logger() -> Iterator[LoggerDevice]:
    device = LoggerDevice()
    yield device
    device.close()
