"""A site file that is no file on a disk: `check` ends in a bounded time, and reads a pipe that ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from agent.site.language import document
from agent.site.loader import check

SITE = Path(__file__).parent.parent / "cases" / "saint-seine.yaml"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    os.mkfifo(path)
    return path


def test_a_pipe_that_nobody_writes_to(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_PATIENCE", 0.2)
    assert [problem.line for problem in check(pipe)] == [1]
    assert "a pipe that does not end within" in check(pipe)[0].message


def test_a_pipe_that_never_ends(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_PATIENCE", 0.2)
    descriptor = os.open(pipe, os.O_RDWR)
    os.write(descriptor, b"version: 1\n")
    assert "a pipe that does not end within" in check(pipe)[0].message
    os.close(descriptor)


def test_a_pipe_that_ends_is_read_whole(pipe: Path) -> None:
    text = (f"# {'x' * 70}\n" * 2000).encode() + SITE.read_bytes()
    writer = threading.Thread(target=pipe.write_bytes, args=(text,))
    writer.start()
    assert document.read(pipe).source == text
    writer.join()


def test_nothing_at_all() -> None:
    assert "the file is empty" in check(Path("/dev/null"))[0].message


def test_a_makers_codec_that_is_a_pipe_is_no_codec(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    os.mkfifo(tmp_path / "profiles" / "codec.js")
    points = "  t: {field: t, unit: degC}"
    (tmp_path / "profiles" / "node.yaml").write_text(f"name: node\nlora: {{codec: codec.js}}\npoints:\n{points}\n")
    site = tmp_path / "site.yaml"
    site.write_text(
        "version: 1\nsite: {id: a, name: A, latitude: 47, longitude: 5, timezone: Europe/Paris}\n"
        "buses: {l: {type: lora_chirpstack, application: a, url: 'mqtt://127.0.0.1:1883'}}\n"
        "devices: {n: {bus: l, dev_eui: 24e124136b316001, profile: node}}\n"
    )
    assert any("maker's codec, which is not there" in problem.message for problem in check(site))
