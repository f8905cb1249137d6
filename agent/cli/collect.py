"""`bocage collect`: the far side, small: what gateways send into one SQLite file, and an account of every number."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.cli.common import add_command, add_json
from agent.errors import BocageError

__all__ = ["add"]


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "collect",
        "a small supervision: take what gateways send into one SQLite file, and account for every reading",
        "  bocage collect mqtt://broker:1883 --prefix bocage/v1 --sqlite region.db\n"
        "  bocage collect mqtts://broker:8883 --sqlite region.db --ca ca.pem --username region --seconds 60\n"
        "  bocage collect report region.db                     numbers that are missing, if there are any\n"
        "  sqlite3 region.db \"SELECT datetime(t/1000, 'unixepoch'), point, value FROM reading LIMIT 9\"\n"
        "\nThe password is read from --password-file, else from $BOCAGE_MQTT_PASSWORD. A message is acknowledged when\n"
        "it is on disk; while the collector is away, the broker keeps its messages (MQTT 5: for a week).",
    )
    where = "mqtt://HOST[:1883] or mqtts://HOST[:8883]; or: report FILE"
    parser.add_argument("what", metavar="URL", nargs="+", help=where)
    parser.add_argument("--prefix", default="bocage/v1", help="of the topics (default: %(default)s)")
    parser.add_argument("--sqlite", metavar="FILE", type=Path, help="the file; made if it is not there")
    parser.add_argument("--protocol", choices=("5", "3.1.1"), default="5", help="of MQTT (default: %(default)s)")
    parser.add_argument("--username", help="at the broker")
    parser.add_argument("--password-file", metavar="FILE", type=Path, help="its first line is the password")
    parser.add_argument("--ca", metavar="FILE", type=Path, help="who signed the broker's certificate")
    parser.add_argument("--cert", metavar="FILE", type=Path, help="our certificate")
    parser.add_argument("--key", metavar="FILE", type=Path, help="its key")
    parser.add_argument("--client-id", default="bocage-collect", help="one a collector (default: %(default)s)")
    parser.add_argument("--seconds", type=float, metavar="N", help="end after N seconds (default: at Ctrl-C)")
    add_json(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """0 fine; 1 when numbers are missing without a reason, or the broker or the file refuses."""
    what = options.what
    if what[-2:-1] == ["report"] and len(what) <= 3:
        return report(Path(what[-1]), options.json)
    if len(what) != 1:
        options.parser.error("expected one broker's URL, or: report FILE")
    if options.sqlite is None:
        options.parser.error("--sqlite FILE is missing: where to keep what comes")
    return collect(options)


def report(path: Path, as_json: bool) -> int:
    from agent.collect.store import Store

    store = Store(path, create=False)
    accounts, refused = store.accounts(), store.refused
    store.close()
    if as_json:
        print(json.dumps({"stores": [account.json() for account in accounts], "refused": refused}))
    else:
        _print_report(accounts, refused)
    return 1 if any(account.missing or account.conflicts for account in accounts) else 0


def _print_report(accounts: list[Any], refused: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="what came, by store")
    names = ("readings", "events", "results", "duplicates", "gaps", "explained", "missing", "undated")
    for name in ("site", "store", *names):
        table.add_column(name, justify="left" if name in ("site", "store") else "right")
    for account in accounts:
        numbers = (f"{getattr(account, name):,}" for name in names)
        table.add_row(account.site, account.store[:8], *numbers, style="red" if account.missing else "")
    console = Console()
    console.print(table if accounts else "nothing has come yet")
    missing, conflicts = (sum(getattr(one, name) for one in accounts) for name in ("missing", "conflicts"))
    if missing:
        console.print(f"{missing:,} numbers are missing without a gap record: lost, or still on their way")
    if conflicts:
        console.print(f"{conflicts:,} numbers came twice with different content")
    if refused:
        console.print(f"{refused:,} messages were not what their schema says: SELECT * FROM refused")


def collect(options: argparse.Namespace) -> int:
    from agent.collect.session import Collector
    from agent.collect.store import Store

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    broker = _broker(options)
    store = Store(options.sqlite)
    collector = Collector(broker, options.prefix, store)
    before = {number: signal.signal(number, lambda *_: collector.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _line(broker.host) as shown:
            collector.run(shown, options.seconds)
        accounts = store.accounts()
    except sqlite3.Error as error:
        raise BocageError(f"{options.sqlite}: {error}; what is not in it was not acknowledged") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        store.close()
    tally = collector.tally
    missing = sum(account.missing for account in accounts)
    if options.json:
        print(json.dumps({"readings": tally.readings, "messages": tally.messages, "refused": tally.refused,
                          "sites": sorted(tally.sites), "missing": missing}))  # fmt: skip
    else:
        print(f"collected {tally.readings} readings in {tally.messages} messages of {len(tally.sites)} sites; "
              f"{tally.refused} refused, {missing} missing")  # fmt: skip
    return 0


def _broker(options: argparse.Namespace) -> Any:
    from agent.collect.session import Broker

    url = options.what[0]
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path.strip("/") or port == 0:
        raise BocageError(f"{url} is not a broker's address; write mqtt://HOST:1883, or mqtts://HOST:8883 with TLS")
    if parts.password or parts.username:
        raise BocageError("a secret on the command line; use --username, and --password-file or BOCAGE_MQTT_PASSWORD")
    password = os.environ.get("BOCAGE_MQTT_PASSWORD")
    if options.password_file is not None:
        password = options.password_file.read_text("utf-8").partition("\n")[0]
    tls = parts.scheme == "mqtts"
    for path in (options.ca, options.cert, options.key):
        if path is not None and not path.is_file():
            raise BocageError(f"{path}: there is no such file")
    return Broker(
        parts.hostname, port or (8883 if tls else 1883), tls, 5 if options.protocol == "5" else options.protocol,
        options.username, password, options.ca, options.cert, options.key, options.client_id,
    )  # fmt: skip


def _line(host: str) -> AbstractContextManager[Callable[[Any], None]]:
    """How it goes, in one line that is drawn anew; nothing where nobody looks."""
    if not sys.stderr.isatty():
        return nullcontext(lambda tally: None)
    return _Line(host)


class _Line:
    def __init__(self, host: str) -> None:
        from rich.console import Console
        from rich.status import Status

        self._host, self._since = host, time.monotonic()
        self._status = Status(f"connecting to {host}", console=Console(stderr=True))

    def __enter__(self) -> Callable[[Any], None]:
        self._status.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def _show(self, tally: Any) -> None:
        rate = tally.readings / max(1.0, time.monotonic() - self._since)
        state = "" if tally.connected else f" [not connected: {tally.error or 'trying'}]"
        self._status.update(
            f"{self._host}{state}: {len(tally.sites)} sites, {tally.readings:,} readings ({rate:,.0f}/s), "
            f"{tally.refused} refused"
        )
