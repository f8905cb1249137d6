"""What devices, commands, brokers and nodes say is text on a terminal: it moves no cursor, and is no markup."""

import asyncio
import io
import json
import logging
import sys
from pathlib import Path

import pytest
from rich.console import Console

from agent.cli import main
from agent.cli.live.view import frame, line
from agent.cli.run import log_to_stderr
from agent.collect.schemas import InvalidMessage
from agent.collect.store import CollectStore
from agent.lib.screen import shown, shown_json
from agent.runtime.socket import SocketServer

EVIL = "[red]a[/]\x1b[2J\x1b]0;owned\x07\x9b31m\u202eknab\u2066\u200b\r\nkm1 on: verified :smile:"
FORBIDDEN = "\x07\x9b\u202e\u2066\u200b\r"


def is_harmless(text, escapes=0):
    assert not set(FORBIDDEN) & set(text), text
    assert "\nkm1 on: verified" not in text
    assert "[red]a" in text or escapes, text
    return "\x1b" not in text if not escapes else "\x1b[2J" not in text and "\x1b]0" not in text


def test_text_is_shown_with_its_accents_and_without_its_controls():
    assert shown("Église, 21,5\u202f°C – 火") == "Église, 21,5\u202f°C – 火"
    assert shown("\x1b[2J\u202e\ud800") == "\\x1b[2J\\u202e\\ud800"
    assert is_harmless(shown(EVIL))


def test_json_on_a_screen_says_the_same_and_moves_nothing():
    document = {EVIL: [EVIL, "Église, 21,5\u202f°C", "\ud800", "\U000e0041"], "n": 1}
    for indent in (None, 2):
        text = shown_json(document, indent)
        assert json.loads(text) == document
        assert is_harmless(text) and "Église, 21,5\u202f°C" in text
        assert text.replace("\n", "").isascii() or not {"\ud800", "\U000e0041"} & set(text)


def test_a_codecs_answer_is_json_and_moves_nothing(tmp_path, capsys):
    pytest.importorskip("quickjs")
    codec = tmp_path / "evil.js"
    codec.write_text(f"function decodeUplink(i) {{ return {{data: {{state: {json.dumps(EVIL)}}}}}; }}")
    for shape in ([], ["--json"]):
        assert main(["codec", "run", str(codec), "--hex", "01", *shape]) == 0
        said = capsys.readouterr().out
        assert json.loads(said)["data"]["state"] == EVIL
        assert is_harmless(said)


def evil_status():
    status = json.loads((Path(__file__).parents[1] / "view/status.json").read_text())

    def spoil(value):
        if isinstance(value, dict):
            return {key: EVIL if key in SPOILT and isinstance(one, str) else spoil(one) for key, one in value.items()}
        return [spoil(item) for item in value] if isinstance(value, list) else value

    status = spoil(status)
    status["log"] = [EVIL, *status.get("log", [])]
    return status


SPOILT = ("id", "name", "unit", "error", "subject", "by", "cause", "broker", "code", "agent")


@pytest.mark.parametrize("markup", [True, False])
def test_the_live_view_obeys_nothing(markup):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=400, height=200, markup=markup, color_system="truecolor")
    console.print(frame(evil_status(), [EVIL]))
    assert is_harmless(screen.getvalue(), escapes=1)
    assert screen.getvalue().count("[red]a") >= 5 and ":smile:" in screen.getvalue()
    assert is_harmless(line(evil_status()))


async def test_commands_print_what_the_agent_says(tmp_path, capsys):
    alarm = {"severity": "major", "code": EVIL, "subject": EVIL, "since": None, "acked": True}

    async def answer(request, who):
        point = {"value": EVIL, "unit": EVIL, "quality": "good", "at": None}
        return {
            "points": {f"m.{EVIL}": point}, "unknown": {}, "point": "km1", "value": EVIL, "state": "verified",
            "reason": EVIL, "alarms": [alarm], "at": None,
        }  # fmt: skip

    site = Path(__file__).with_name("site.yaml")
    place = ["--runtime-dir", str(tmp_path)]
    handlers = dict.fromkeys(("read", "write", "alarms", "status"), answer)
    async with SocketServer(tmp_path, handlers).listening():
        for command in (["read", str(site)], ["write", str(site), "km1", "on"], ["alarms", str(site)]):
            await asyncio.to_thread(main, [*command, *place])
            printed = capsys.readouterr()
            assert is_harmless(printed.out) and printed.out.count("[red]a") >= 1, printed


def test_an_error_in_somebody_elses_words(tmp_path, capsys):
    assert main(["collect", f"http://{EVIL}", "--sqlite", str(tmp_path / "x")]) == 1
    assert is_harmless(capsys.readouterr().err.replace("\\n", ""))


def test_a_log_line_is_one_line(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    log_to_stderr("info")
    logging.getLogger("bocage.test").warning("value %s", EVIL)
    assert is_harmless(screen.getvalue()) and screen.getvalue().count("\n") == 1


def test_the_report_of_a_collector(tmp_path, capsys):
    store = CollectStore(tmp_path / "r.db")
    body = {"k": ["s", 1], "t": 1, "kind": "alarm", "code": "c", "subject": "s", "severity": "info", "detail": {}}
    store.take("event", EVIL.replace("\n", ""), body)
    with pytest.raises(InvalidMessage) as reason:
        store.take("event", EVIL, body)
    store.refuse(f"p/{EVIL}/event", reason.value, b"{}")
    store.close()
    assert main(["collect", "report", str(tmp_path / "r.db")]) == 1
    assert is_harmless(capsys.readouterr().out)
