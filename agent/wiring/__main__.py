"""The child that reads a site file for the agent: a pickled `Found` goes to its standard output.

    python -m agent.wiring SITE.yaml [HOME]      HOME: the site file that SITE.yaml is a copy of
"""

import pickle
import signal
import sys
from pathlib import Path

from agent.config.loader import Copy, read_copy
from agent.plan import PATIENCE, Found, Plan
from agent.problem import Problem
from agent.wiring import plan


def _found(copy: Copy, file: str) -> Found:
    problems, found = tuple(copy.problems), None
    if copy.site is not None:
        found, why = _translated(copy)
        if why and not copy.wrong:
            problems = (*problems, Problem(file, 1, 1, "error", f"it cannot be carried out: {why}"))
    return Found(found, problems, copy.files, copy.absent, copy.pointers)


def _translated(copy: Copy) -> tuple[Plan | None, str]:
    """The plan, and what kept it from being made: rules may be broken here, and what is missing shows somehow."""
    assert copy.site is not None
    try:
        return plan(copy.site), ""
    except Exception as error:  # noqa: BLE001  whoever asked has another configuration to go on with
        return None, f"{type(error).__name__}: {error}"


signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C in the terminal is for whoever asked
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever asked has gone: nobody wants the answer
signal.alarm(PATIENCE)  # a pipe in place of the file would be waited for without end
site = Path(sys.argv[1])
home = Path(sys.argv[2]) if len(sys.argv) > 2 else site
sys.stdout.buffer.write(pickle.dumps(_found(read_copy(site, str(home), home, codecs=True), str(home))))
