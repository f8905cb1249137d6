"""What the pages for developers name is there, and every room is on the map."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PAGES = ("CONTRIBUTING.md", "docs/architecture.md")
ROOMS = sorted(
    str(path.relative_to(ROOT))
    for top in ("agent", "drivers")
    for path in (ROOT / top).iterdir()
    if (path.is_dir() and any(path.glob("*.py"))) or (path.suffix == ".py" and path.name[0] != "_")
)
"""The packages and modules right below agent/ and drivers/."""
WIDTH = 100
"""Of a line of prose. Tables, code, headings, and a word or a link that is longer itself are excepted."""
PROSE = sorted(
    str(path.relative_to(ROOT))
    for top in ("*.md", "docs/**/*.md", "drivers/**/*.md", "agent/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(top)
    if path.name != "CHANGELOG.md" and "node_modules" not in path.parts
)


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def paths(page: str) -> list[str]:
    """What a page names in backticks that is no bare module; NAME stands for a name of one's own."""
    named = re.findall(r"`([\w./*-]+)`", re.sub(r"^```.*?^```", "", text(page), flags=re.S | re.M))
    return [name for name in named if ("/" in name or re.search(r"\.(?:cfg|md|toml)$", name)) and "NAME" not in name]


TARGETS = set(re.findall(r"^([a-z-]+):", text("Makefile"), flags=re.M))


def named_targets(pattern: str, where: str) -> set[str]:
    return set(re.findall(pattern, where, flags=re.M))


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    missing = [name for name in paths(page) if not any(ROOT.glob(name.rstrip("/")))]
    assert not missing
    assert len(paths(page)) > 5


@pytest.mark.parametrize("page", [*PROSE, "CHANGELOG.md"])
def test_every_link_leads_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text(page)) if "://" not in link]
    assert not [link for link in links if not (folder / link).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_that_a_page_names_exists(page: str) -> None:
    assert named_targets(r"(?:^    |`)make ([a-z]+)", text(page)) <= TARGETS


@pytest.mark.parametrize("page", [*PROSE, "CHANGELOG.md"])
def test_every_link_to_a_heading_finds_it(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", text(page))
    for link, anchor in ((link, anchor) for link, anchor in links if "://" not in link):
        target = (ROOT / page).parent / link if link else ROOT / page
        titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.M)
        assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, (link, anchor)


def test_each_service_and_driver_has_its_page() -> None:
    folders = {path.parent for top in ("agent/services/*/config.py", "drivers/*/config*") for path in ROOT.glob(top)}
    assert not [folder for folder in folders if not (folder / "README.md").exists()]
    assert len(folders) > 6


def test_each_priority_that_wins_in_a_case_is_in_the_table() -> None:
    table = text("docs/actuators.md").partition("## Which wish wins\n")[2].partition("\n## ")[0]
    cases = "".join(path.read_text() for path in ROOT.glob("tests/cases/*/expected.json"))
    won = set(re.findall(r'"priority": (\d+)', cases))
    assert len(won) > 6 and won <= set(re.findall(r"^\| (\d+) \|", table, flags=re.M))


def test_the_map_has_every_room() -> None:
    page = text("docs/architecture.md")
    assert not [room for room in ROOMS if f"`{room}" not in page]


def test_the_workflows_run_what_there_is() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        jobs = YAML(typ="safe").load(path)["jobs"]
        commands = "\n".join(step["run"] for job in jobs.values() for step in job["steps"] if "run" in step)
        named = named_targets(r"^make ([a-z]+)", commands)
        assert named and named <= TARGETS, path
        scripts = re.findall(r"^\.[\w/]+", commands, flags=re.M)
        assert not [name for name in scripts if not os.access(ROOT / name, os.X_OK)], path


def prose(page: str) -> Iterator[tuple[int, str]]:
    """The lines of a page that are neither code, nor table, nor heading, with their numbers."""
    fenced = False
    for number, line in enumerate(text(page).splitlines(), 1):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and not line.startswith("    ") and not line.lstrip().startswith(("|", "#", "<", "![")):
            yield number, line


@pytest.mark.parametrize("page", PROSE)
def test_prose_is_wrapped(page: str) -> None:
    wide = [
        f"{page}:{number}: {len(line)} characters"
        for number, line in prose(page)
        if len(line) > WIDTH and " " in re.sub(r"`[^`]*`", "`", line.strip())[2:WIDTH]
    ]
    assert not wide, f"prose is wrapped at {WIDTH}: {', '.join(wide)}"
