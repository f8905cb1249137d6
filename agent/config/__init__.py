"""The site file: read, checked, and turned into frozen models.

    site = load(Path("site.yaml"))        # ConfigError lists everything that is wrong
    for problem in check(Path("site.yaml")): print(problem)
"""

from __future__ import annotations

from agent.config.loader import check, load, read_site
from agent.config.problems import Problem
from agent.config.secret import Secret
from agent.config.site import Site

__all__ = ["Problem", "Secret", "Site", "check", "load", "read_site"]
