"""The site file: read, checked, and turned into frozen models.

    site = load(Path("site.yaml"))        # ConfigError lists everything that is wrong
    for problem in check(Path("site.yaml")): print(problem)
"""

from __future__ import annotations

from agent.site.language.problems import Problem
from agent.site.language.secret import Secret
from agent.site.loader import check, load, read_site
from agent.site.models.site import Site

__all__ = ["Problem", "Secret", "Site", "check", "load", "read_site"]
