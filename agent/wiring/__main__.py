"""The child that reads the site file for the agent: a pickled `Plan`, or the list of everything that is wrong."""

import pickle
import sys
from pathlib import Path

from agent.config import load
from agent.errors import ConfigError
from agent.plan import Plan
from agent.wiring import plan

try:
    found: Plan | list[str] = plan(load(Path(sys.argv[1])))
except ConfigError as error:
    found = error.problems
sys.stdout.buffer.write(pickle.dumps(found))
