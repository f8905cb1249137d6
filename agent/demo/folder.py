"""The demo's folder: its site file and profiles, the keys of its nodes, and what a run leaves there."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.demo import site
from agent.demo.nodes import make_keys
from agent.demo.uplink import HOST
from agent.errors import BocageError
from agent.lib.hints import ours
from agent.runtime.folders import locked, own_runtime

__all__ = ["DemoFolder", "must_be_free"]

PORTS = 3
"""The broker's, the link's, and that of Modbus TCP and the LoRaWAN gateway."""


class DemoFolder:
    """`path` is its place; `port` the first of the `ports` that its site file names."""

    site_id, ports = site.SITE_ID, PORTS

    def __init__(self, path: Path, port: int) -> None:
        self.path, self.port = path, port
        self.keys, self.state, self.log = path / "keys", path / "state", path / "agent.log"
        self.site_file = path / "site.yaml"
        self.rtu, self.radio = path / "dev" / site.RTU, path / "dev" / site.RADIO

    @property
    def runtime(self) -> Path:
        """In memory, where `bocage watch demo/site.yaml` looks by itself."""
        if named := os.environ.get("BOCAGE_RUNTIME_DIR"):
            return Path(named)
        folder = own_runtime(self.site_id)
        return folder if folder.parent.parent.is_dir() else self.path / "runtime"

    def prepare(self) -> None:
        """A clean folder with the site file in it. An edited file is kept beside the new one."""
        for number in range(self.port, self.port + self.ports):
            must_be_free(number)
        self.path.mkdir(parents=True, exist_ok=True)
        for name in ("dev", "state"):
            (self.path / name).mkdir(exist_ok=True)
        self._put_files()

    def _put_files(self) -> None:
        make_keys(self.keys)
        (self.path / "profiles" / "codecs").mkdir(parents=True, exist_ok=True)
        self._put("site.yaml", self.site_text())
        for name, text in site.PROFILES.items():
            self._put(f"profiles/{name}", text)

    def _put(self, name: str, text: str) -> None:
        file = self.path / name
        if file.exists() and file.read_text() != text:
            file.replace(self.path / f"{name}.old")
            print(f"demo: your {name} differs from the demo's and is kept as demo/{name}.old")
        file.write_text(text)

    def site_text(self, wires: bool = True) -> str:
        """The site file; without `wires` that of an agent that has only the outbox."""
        return site.text(self.path / "dev", self.port, self.port + 1, self.port + 2, wires)

    def forget(self) -> None:
        """Remove an earlier run's state: its outbox would be counted too."""
        with locked(self.runtime), locked(self.state):
            for folder in (self.runtime, self.state):
                for item in folder.iterdir():
                    if item.is_dir() and not item.is_symlink():
                        shutil.rmtree(item)
                    else:
                        item.unlink()
        run = self.path / "run"
        run.unlink(missing_ok=True)
        run.symlink_to(self.runtime)
        self.log.unlink(missing_ok=True)

    @contextmanager
    def outbox_alone(self) -> Iterator[Path]:
        """A state folder with the outbox and nothing else, which goes back afterwards."""
        file, folder = self.state / "outbox.db", self.path / "drain"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if file.exists():
            file.rename(folder / file.name)
        try:
            yield folder
        finally:
            if (folder / file.name).exists():
                (folder / file.name).rename(file)
            shutil.rmtree(folder)


def must_be_free(port: int) -> None:
    """BocageError, with what to do, if another program has the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BocageError(
                f"port {port} is in use, perhaps by another demo; take another: "
                f"BOCAGE_DEMO_PORT=28830 {ours('demo')} ({error.strerror})"
            ) from error
