"""A command whose reader goes (`bocage … | head`), or that is ended by Ctrl-C, says nothing of Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASE = Path(__file__).parents[1] / "cases/common-clock-lost"
SITE, SCENARIO = str(CASE / "site.yaml"), str(CASE / "scenario.yaml")
BOCAGE = "import sys; sys.argv[0] = 'bocage'; from agent.__main__ import main; sys.exit(main())"
ENV = {key: text for key, text in os.environ.items() if key != "PYTHONUNBUFFERED"}  # as on a technician's terminal


def run(*arguments, code=BOCAGE, out=subprocess.PIPE, err=subprocess.PIPE):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=out, stderr=err, env=ENV, timeout=120, check=False
    )
    return done.returncode, (done.stderr or b"").decode()


@pytest.fixture
def nobody():
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(
    "command",
    [
        ["--help"], ["--version"], ["plan", "--help"], ["plan", SITE], ["plan", SITE, "--csv", "--days", "400"],
        ["simulate", SITE, SCENARIO], ["schema"], ["codec", "run", "milesight_em300_th", "--hex", "0367c300"],
        ["buffer", SITE, "--state-dir", "/nonexistent/state"],
    ],
    ids=lambda command: " ".join(Path(word).name for word in command[:3]),
)  # fmt: skip
def test_output_that_nobody_reads(command, nobody):
    code, error = run(*command, out=nobody)
    assert code in (0, 141), error
    assert "Traceback" not in error and "Exception" not in error and "BrokenPipe" not in error


@pytest.mark.parametrize(("command", "code"), [(["check", SCENARIO], 141), (["alarms", SITE], 3), (["nonsense"], 2)])
def test_errors_that_nobody_reads_are_errors_all_the_same(command, code, nobody):
    assert run(*command, err=nobody)[0] == code


def test_output_that_has_no_room_is_an_error():
    with Path("/dev/full").open("wb") as full:
        code, error = run("plan", SITE, "--days", "1", out=full)
    assert code == 1 and error == "bocage: standard output: No space left on device\n"


INTERRUPTED = """
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


@pytest.mark.parametrize(
    "module", ["agent.cli", "agent.cli.common", "agent.cli.scan", "agent.planning.service", "agent.site.loader"]
)
def test_ctrl_c_while_modules_load(module):
    assert run("plan", SITE, code=INTERRUPTED.format(module=module) + BOCAGE) == (130, "")


def test_ctrl_c_in_the_middle_of_a_simulation():
    code = "import agent.simulate, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "real = agent.simulate.simulate\n"
    code += "def cut(*given): return real(*given[:-1], lambda at: at > 7200 and signal.raise_signal(signal.SIGINT))\n"
    code += "agent.simulate.simulate = cut\n"
    assert run("simulate", SITE, SCENARIO, code=code + BOCAGE) == (130, "")
