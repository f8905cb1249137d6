"""The kept configuration: at every moment of a write there is a whole generation, the new one or the one before."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.runtime.applied import Applied

HOME = Path("/etc/bocage/site.yaml")


class PowerCut(BaseException):
    """Nothing after this happens."""


def files(number: int) -> dict[str, bytes]:
    return {"site.yaml": b"generation %d" % number, "profiles/meter.yaml": b"p%d" % number}


def generation(state: Path) -> int | None:
    """The number of the generation that a start would find, all its files being of that one."""
    found = Applied.load(state)
    if found is None:
        return None
    number = int(found.path.read_bytes().split()[-1])
    assert found.is_of(files(number)) and found.home == HOME
    return number


def cut_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[], bool]:
    """The power goes at this one of all the calls that change the disk; the returned function says whether it did."""
    count = itertools.count()
    gone = []

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **named: Any) -> Any:
            if next(count) == step:
                gone.append(step)
                raise PowerCut
            return call(*arguments, **named)

        return made

    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    monkeypatch.setattr(os, "open", counted(os.open))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(Path, "mkdir", counted(Path.mkdir))
    return lambda: bool(gone)


def test_a_power_cut_at_any_step_leaves_one_of_the_two_newest(tmp_path: Path) -> None:
    for step in itertools.count():
        state = tmp_path / str(step)
        state.mkdir()
        for number in (1, 2):
            Applied.keep(state, HOME, "village", files(number))
        with pytest.MonkeyPatch.context() as patch:
            happened = cut_at(patch, step)
            try:
                Applied.keep(state, HOME, "village", files(3))
            except PowerCut:
                pass
        if not happened():
            break
        assert generation(state) in (2, 3), step
        Applied.keep(state, HOME, "village", files(4))
        assert generation(state) == 4, f"after a cut at {step} the next one is kept as ever"
    assert step > 15
    assert generation(state) == 3


@pytest.mark.parametrize("harm", ["torn", "gone", "no manifest", "zeros", "link", "pipe"])
def test_a_generation_that_is_not_whole_gives_way_to_the_one_before(tmp_path: Path, harm: str) -> None:
    for number in (1, 2):
        Applied.keep(tmp_path, HOME, "village", files(number))
    newest = tmp_path / "applied"
    match harm:
        case "torn":
            (newest / "site.yaml").write_bytes(b"generation")
        case "gone":
            (newest / "profiles" / "meter.yaml").unlink()
        case "no manifest":
            (newest / "applied.json").unlink()
        case "zeros":
            (newest / "applied.json").write_bytes(bytes(100))
        case "link":
            (newest / "site.yaml").rename(tmp_path / "elsewhere")
            (newest / "site.yaml").symlink_to(tmp_path / "elsewhere")
        case "pipe":
            (newest / "site.yaml").unlink()
            os.mkfifo(newest / "site.yaml")
    assert generation(tmp_path) == 1
    Applied.keep(tmp_path, HOME, "village", files(3))
    assert generation(tmp_path) == 3
    shutil.rmtree(newest)
    assert generation(tmp_path) == 1, "what was whole is still the one before"


def test_what_is_kept_already_is_not_written_again(tmp_path: Path) -> None:
    """An agent that restarts every minute must not wear the card."""
    Applied.keep(tmp_path, HOME, "village", files(1))
    before = (tmp_path / "applied").stat().st_ino
    Applied.keep(tmp_path, HOME, "village", files(1))
    assert (tmp_path / "applied").stat().st_ino == before
    assert not (tmp_path / "applied.previous").exists()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Applied.keep(tmp_path, HOME, "village", files(1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Applied.keep(tmp_path, HOME, "village", files(2))
    assert generation(tmp_path) == 1
    assert not (tmp_path / "applied.new").exists(), "the room is given back"
