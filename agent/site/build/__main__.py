"""The child that reads a site file for the agent: a pickled `Found` goes to its standard output.

    python -m agent.site.build SITE.yaml [HOME]      HOME: the site file that SITE.yaml is a copy of
"""

import pickle
import signal
import sys
from pathlib import Path

from agent.settings import PATIENCE
from agent.site.build.found import read

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C in the terminal is for the parent process
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the parent has gone: the answer is not needed
signal.alarm(PATIENCE)  # a pipe in place of the file would be waited for without end
site = Path(sys.argv[1])
sys.stdout.buffer.write(pickle.dumps(read(site, Path(sys.argv[2]) if len(sys.argv) > 2 else site)))
