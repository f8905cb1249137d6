"""`bocage check`, `schema` and `init`, and the pages and files that go with them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from agent.cli import direct, main
from agent.site.language.document import read
from agent.site.loader import check
from agent.site.reference import reference

ROOT = Path(__file__).parent.parent.parent
SAINT_SEINE = ROOT / "tests" / "cases" / "saint-seine.yaml"
EXAMPLES = sorted((ROOT / "config").glob("*.yaml"))
TEMPLATE = ROOT / "agent" / "site" / "template.yaml"
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("path", [*EXAMPLES, TEMPLATE], ids=lambda path: path.name)
def test_what_is_shipped_has_no_problem(path: Path) -> None:
    assert check(path) == []


def test_what_the_template_leaves_out_works_when_it_is_taken_in(tmp_path: Path) -> None:
    elsewhere = {"ca", "cert", "key", "level", "lamp"}  # they name files and devices that a template cannot have
    lines = []
    for line in TEMPLATE.read_text().splitlines():
        found = re.fullmatch(r"  # (\w+): .*", line)
        lines.append(line.replace("# ", "", 1) if found and found[1] not in elsewhere else line)
    (tmp_path / "site.yaml").write_text("\n".join(lines))
    assert check(tmp_path / "site.yaml") == []
    assert {"fallback:", "max_message:", "max_rate:", "plant:"} <= set("\n".join(lines).replace("{", " ").split())


def test_the_examples_are_there() -> None:
    assert len(EXAMPLES) >= 3


def test_check_says_fine(capsys: Capture) -> None:
    assert main(["check", str(SAINT_SEINE)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("no problems; 4 buses, 7 devices, 7 signals, 7 actuators; rs485-1 busy 14 %\n")


def test_check_names_the_file_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SAINT_SEINE.read_text().replace("Europe/Paris", "Europe/Pari"))
    assert main(["check", "./s.yaml"]) == 1
    assert capsys.readouterr().out == (
        './s.yaml:3:18: error: unknown timezone "Europe/Pari"; did you mean "Europe/Paris"?\n'
    )
    assert main(["check", "s.yaml", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "problems": [
            {
                "file": "s.yaml",
                "line": 3,
                "column": 18,
                "severity": "error",
                "message": 'unknown timezone "Europe/Pari"; did you mean "Europe/Paris"?',
                "hint": 'did you mean "Europe/Paris"?',
            }
        ],
        "lines": {"rs485-1": {"load": 0.145}},
    }


def test_a_warning_is_no_error(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SAINT_SEINE.read_text().replace("comfort: 19", "comfort: 21"))
    assert main(["check", str(path)]) == 0
    assert ": warning: comfort 21 degC" in capsys.readouterr().out


@pytest.mark.parametrize(("fine", "code"), [(True, 0), (False, 1)])
def test_check_with_its_wires(fine: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    async def try_wires(site: object) -> list[tuple[str, bool, str]]:
        return [("meter-a", fine, "answered")]

    monkeypatch.setattr(direct, "try_wires", try_wires)
    assert main(["check", str(SAINT_SEINE), "--bus"]) == code
    assert "meter-a: " in capsys.readouterr().out


def test_editors_accept_what_check_accepts(capsys: Capture) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in (*EXAMPLES, TEMPLATE, SAINT_SEINE):
        assert [error.message for error in validator.iter_errors(read(path).data)] == [], path
    document = read(SAINT_SEINE).data
    document["devices"]["meter-a"]["poll"] = 10
    assert any(error.json_path == "$.devices['meter-a'].poll" for error in validator.iter_errors(document))


def test_init_writes_once(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "site.yaml"
    assert main(["init", str(path)]) == 0
    assert check(path) == []
    path.write_text("mine")
    assert main(["init", str(path)]) == 1
    assert path.read_text() == "mine"
    assert main(["init", str(path), "--force"]) == 0
    capsys.readouterr()
    assert main(["init"]) == 0
    assert capsys.readouterr().out == path.read_text()


def test_the_reference_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), "python -m agent.site.reference > docs/configuration.md"
