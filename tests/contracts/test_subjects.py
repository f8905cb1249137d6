"""`.ci/subjects`: a commit whose subject cannot be read in a list is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SUBJECTS = Path(__file__).parents[2] / ".ci" / "subjects"


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Add a key\n\nIt was missing.", ""),
        ("é" * 72, ""),
        ("x" * 73, "73 characters"),
        ("Add a key.", "a full stop"),
        ("Add a key\nthat was missing", "no empty line below it"),
    ],
    ids=["subject and body", "longest", "too long", "full stop", "no body"],
)
def test_a_subject_is_one_short_line(tmp_path: Path, message: str, said: str) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "commit", "--allow-empty", "--message", "x" * 100)  # BASE has it
    git(tmp_path, "checkout", "--quiet", "-b", "branch")
    git(tmp_path, "commit", "--allow-empty", "--message", message)
    done = subprocess.run([str(SUBJECTS), "main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stderr) == (int(bool(said)), True), done.stderr
