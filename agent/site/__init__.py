"""The site file: read, checked, and turned into frozen models.

    from agent.site.loader import check, load
    site = load(Path("site.yaml"))        # ConfigError lists everything that is wrong
    for problem in check(Path("site.yaml")): print(problem)

Nothing is imported here: the models of services import `agent.site.language`, and `agent.site.models` imports them.
"""
