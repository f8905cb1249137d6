"""Options may stand anywhere, and wrong use is told apart from what is wrong."""

import argparse
from pathlib import Path

import pytest

from agent.cli import buffer, main, points
from agent.cli.common import CommandParser


@pytest.fixture
def parse():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(parser_class=CommandParser)
    buffer.add(commands)
    points.add(commands)
    return lambda line: parser.parse_args(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "buffer s.yaml export --csv --state-dir D",
        "buffer s.yaml --state-dir D export --csv",
        "buffer --csv s.yaml --state-dir D export",
        "buffer --state-dir=D --csv s.yaml export",
    ],
)
def test_the_action_of_buffer_may_stand_after_options(parse, line):
    options = parse(line)
    assert (str(options.site), options.action, options.csv, options.state_dir) == ("s.yaml", "export", True, "D")


@pytest.mark.parametrize("line", ["read s.yaml --json a b", "read --json s.yaml a b", "read s.yaml a --json b"])
def test_points_may_stand_around_options(parse, line):
    options = parse(line)
    assert (str(options.site), options.points, options.json) == ("s.yaml", ["a", "b"], True)


def test_a_negative_value_is_no_option(parse):
    assert parse("write s.yaml dim1 -5 --for 90s").value == -5
    assert parse("write --for 90s s.yaml dim1 -0.5").hold == 90_000


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "read",
        "read s.yaml --nonsense",
        "buffer s.yaml nonsense",
        "buffer s.yaml status extra",
        "buffer s.yaml --csv --jsonl",
        "write s.yaml km1",
        "write s.yaml km1 perhaps",
        "write s.yaml km1 nan",
        "write s.yaml km1 on --for 3x",
        "check",
        "demo --seconds soon",
    ],
)
def test_wrong_use_is_2_and_shows_how(line, capsys):
    with pytest.raises(SystemExit) as end:
        main(line.split())
    assert end.value.code == 2
    command = line.split(maxsplit=1)[0] if line not in ("", "nonsense") else ""
    assert capsys.readouterr().err.startswith(f"usage: bocage {command}")


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (["chekc", "s.yaml"], 'argument COMMAND: "chekc" is unknown; did you mean "check"?'),
        (["stopoutputs"], 'did you mean "stop-outputs"?'),
        (["--versoin"], 'unrecognized arguments: --versoin; did you mean "--version"?'),
        (["check", "--bsu", "s.yaml"], 'unrecognized arguments: --bsu; did you mean "--bus"?'),
        (["plan", "s.yaml", "--dyas=3"], 'did you mean "--days"?'),
        (["lora", "s.yaml", "joinlog"], '"joinlog" is unknown; did you mean "join-log"?'),
        (["simulate", "s.yaml"], "SITE.yaml or SCENARIO.yaml is missing, and there is no /x, which would be meant"),
        (["write", "s.yaml", "dim1", "1,5"], "'1,5' is no value; write 1.5"),
        (["check", "\u2014json", "s.yaml"], "a long dash, which a phone makes of two; write --json"),
        (["check\xa0s.yaml"], 'there is a no-break space (AltGr and space) in "check\xa0s.yaml"; write a plain one'),
        (["check", "s.yaml\xa0--bus"], "write a plain one"),
    ],
)
def test_what_was_meant(words, end, capsys, monkeypatch):
    monkeypatch.setattr("agent.cli.common.SITE", Path("/x"))
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"{end}\n")


def test_bocage_alone_is_where_a_newcomer_starts(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2 and "examples:" in capsys.readouterr().err
