"""`bocage buffer`: the shapes that other programs read."""

import csv
import io
import json

from agent.cli import buffer, main
from agent.outbox.blocks import Row

SITE = """\
version: 1
site: {id: buffer, name: Buffer, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
uplink: {url: "mqtt://127.0.0.1:9", prefix: bocage/v1}
"""
ROWS = [
    Row("s", 1, "io-1.relay1", True, "good", 1_764_000_000_000, None),
    Row("s", 2, "a.b", 61.2, "stale", None, 5),
    Row("s", 3, "a.b", None, "bad", None, 6),
]


def export(tmp_path, monkeypatch, capsys, *options):
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    monkeypatch.setattr(buffer, "export_readings", lambda state, stage: iter(ROWS))
    assert main(["buffer", str(path), *options, "--state-dir", str(tmp_path)]) == 0
    return capsys.readouterr().out


def test_csv(tmp_path, monkeypatch, capsys):
    rows = list(csv.DictReader(io.StringIO(export(tmp_path, monkeypatch, capsys, "export", "--csv"))))
    assert [row["value"] for row in rows] == ["true", "61.2", ""]
    assert [row["at"] for row in rows] == ["2025-11-24T16:00:00.000+00:00", "", ""]


def test_what_a_device_says_is_no_formula_and_moves_no_cursor(tmp_path, monkeypatch, capsys):
    said = ["=cmd|' /C calc'!A0", " +1", "-2+3", "@SUM(A1)", "\t=1", "open", "a=b", 'say "x", then\ny',
            "\x9b31m\u202e\x1b[2J"]  # fmt: skip
    rows = [Row("s", n, "n.state", text, "good", None, 5) for n, text in enumerate(said)]
    monkeypatch.setitem(globals(), "ROWS", rows)
    text = export(tmp_path, monkeypatch, capsys, "export", "--csv")
    assert [row["value"] for row in csv.DictReader(io.StringIO(text))] == [
        "'=cmd|' /C calc'!A0", "' +1", "'-2+3", "'@SUM(A1)", "'\\t=1", "open", "a=b", 'say "x", then\\ny',
        "\\x9b31m\\u202e\\x1b[2J",
    ]  # fmt: skip
    text = export(tmp_path, monkeypatch, capsys, "export", "--jsonl")
    assert [json.loads(line)["value"] for line in text.splitlines()] == said, "to the letter"
    assert not set("\x9b\u202e\x1b") & set(text)


def test_jsonl_alone_is_an_export(tmp_path, monkeypatch, capsys):
    rows = [json.loads(line) for line in export(tmp_path, monkeypatch, capsys, "--jsonl").splitlines()]
    assert [row["value"] for row in rows] == [True, 61.2, None]
    assert rows[1]["at"] is None


def test_a_shape_is_not_for_the_status(tmp_path, capsys):
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    assert main(["buffer", str(path), "status", "--csv"]) == 2
    assert capsys.readouterr().err == "bocage: --csv and --jsonl are for export\n"
