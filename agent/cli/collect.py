"""`bocage collect`: the far side, small: what gateways send into one SQLite file, and an account of every number."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.cli.common import add_command, add_json
from agent.cli.narrow import tabled
from agent.errors import BocageError
from agent.lib.screen import shown
from agent.runtime.logs import log_to_stderr

if TYPE_CHECKING:
    from agent.collect.store import CollectStore

__all__ = ["add"]

_ACCOUNT = 2.0
"""Seconds for the account at the end; `report` takes as long as it needs."""


_WIDEST = 1000
"""Columns that no table needs."""
_ERASE = ("site", "device", "point", "person", "before")
_COLLECT = ("prefix", "sqlite", "protocol", "username", "password_file", "ca", "cert", "key", "client_id", "keep",
            "seconds")  # fmt: skip
"""Options of `erase` only, and options of a collector at a broker."""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "collect",
        "collect the messages of gateways in one SQLite file, and account for every reading",
        "  bocage collect mqtt://broker:1883 --prefix bocage/v1 --sqlite region.db\n"
        "  bocage collect mqtts://broker:8883 --sqlite region.db --ca ca.pem --username region --seconds 60\n"
        "  bocage collect report region.db                     numbers that are missing, if there are any\n"
        "  bocage collect rename region.db old-name new-name   a site that has another name from now on\n"
        "  bocage collect erase region.db --site s --device meter-a --before 2026-01-01\n"
        "  sqlite3 region.db \"SELECT datetime(t/1000, 'unixepoch'), point, value FROM reading LIMIT 9\"\n"
        "\nThe password is read from --password-file, else from $BOCAGE_MQTT_PASSWORD. A message is acknowledged when\n"
        "it is on disk; while the collector is away, the broker keeps its messages (MQTT 5: for a week).",
    )
    where = "mqtt://HOST[:1883] or mqtts://HOST[:8883]; or: report FILE; rename FILE OLD NEW; erase FILE"
    parser.add_argument("what", metavar="URL", nargs="+", help=where)
    prefix = "first part of the topics (default: %(default)s)"
    parser.add_argument("--prefix", type=_topic, default="bocage/v1", help=prefix)
    parser.add_argument("--sqlite", metavar="FILE", type=Path, help="the file; created if it is missing")
    parser.add_argument("--protocol", choices=("5", "3.1.1"), help="the MQTT version (default: 5, else 3.1.1)")
    parser.add_argument("--username", type=_word, help="for the broker")
    parser.add_argument("--password-file", metavar="FILE", type=Path, help="its first line is the password")
    parser.add_argument("--ca", metavar="FILE", type=Path, help="the authority that signed the broker's certificate")
    parser.add_argument("--cert", metavar="FILE", type=Path, help="the client certificate")
    parser.add_argument("--key", metavar="FILE", type=Path, help="the client's private key")
    client_id = "unique for each collector (default: %(default)s)"
    parser.add_argument("--client-id", type=_client_id, default="bocage-collect", help=client_id)
    older = "erase what is older: h, d, w, mo (31 days), y"
    parser.add_argument("--keep", "--retention", metavar="13mo", type=_span, help=older)
    erase = parser.add_argument_group("erase", "delete what matches all of these options that are given")
    erase.add_argument("--site", type=_name, help="of this site (alone: everything of it, its account too)")
    erase.add_argument("--device", type=_name, help="points and events of this device")
    erase.add_argument("--point", type=_name, help="this point, signal or subject")
    erase.add_argument("--person", type=_name, help="events caused by this person")
    erase.add_argument("--before", metavar="2026-01-31", type=_date, help="from before this day (UTC)")
    parser.add_argument("--seconds", type=_seconds, metavar="N", help="end after N seconds (default: at Ctrl-C)")
    add_json(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """0 fine; 1 when numbers are missing without a reason, a person must look, or the broker or the file refuses."""
    what, given = options.what, len(options.what)
    _check_belongs(options, what[0] if what[0] in ("rename", "erase") else "")
    if what[-2:-1] == ["report"] and given <= 3:
        return report(Path(what[-1]), options.json)
    if what[0] == "rename" and given == 4:
        _check_site(options, what[3])
        return rename(Path(what[1]), what[2], what[3], options.json)
    if what[0] == "erase" and given == 2:
        return erase(Path(what[1]), options)
    if given != 1 or what[0] in ("report", "rename", "erase"):
        options.parser.error("expected one broker's URL, or: report FILE, rename FILE OLD NEW, erase FILE --site SITE")
    if options.sqlite is None:
        options.parser.error("--sqlite FILE is missing: where to keep what comes")
    return collect(options)


def _check_belongs(options: argparse.Namespace, action: str) -> None:
    """No option that would be passed over: `erase --site s --keep 13mo` would take the whole site."""
    others = (*(() if action == "erase" else _ERASE), *(_COLLECT if action else ()))
    for name in others:
        if getattr(options, name) != options.parser.get_default(name):
            options.parser.error(f"--{name.replace('_', '-')} is not for {action or 'this, but for erase'}")


def _check_site(options: argparse.Namespace, name: str) -> None:
    """A site is one level of a topic: under another name nothing of it would be taken any more."""
    try:
        wrong = any(one in _name(name) for one in "/+#\0")
    except argparse.ArgumentTypeError:
        wrong = True
    if wrong:
        options.parser.error(f"{name!r} is no name of a site; it is one level of a topic, without / + #")


@contextmanager
def _opened(path: Path) -> Iterator[CollectStore]:
    """A file that is there; what is not committed at the end never was. BocageError says what is wrong with it."""
    from agent.collect.store import CollectStore, file_fault

    store = CollectStore(path, create=False)
    try:
        yield store
    except sqlite3.Error as error:
        raise file_fault(path, error) from error
    finally:
        store.db.close()


def report(path: Path, as_json: bool) -> int:
    with _opened(path) as store:
        accounts, refused, alarms = store.accounts() or [], store.refused, store.alarms()
    if as_json:
        found = {"stores": [account.json() for account in accounts], "refused": refused, "alarms": alarms}
        print(json.dumps(found))
    else:
        _print_report(accounts, refused, alarms)
    return 1 if alarms or any(account.missing or account.conflicts for account in accounts) else 0


def rename(path: Path, old: str, new: str, as_json: bool) -> int:
    from agent.collect.rename import rename as give

    with _opened(path) as store:
        stores, kept = give(store, old, new)
    if as_json:
        print(json.dumps({"stores": stores, "kept": kept}))
    else:
        print(f"{_count(stores, 'store')} of {old} now of {new}; "
              f"{_count(kept, 'message')} that had been refused for it kept")  # fmt: skip
    return 0


def erase(path: Path, options: argparse.Namespace) -> int:
    from agent.collect.erase import Which
    from agent.collect.erase import erase as take_out

    which = Which(options.site, options.device, options.point, options.person, options.before)
    if which == Which():
        options.parser.error("erase what? --site, --device, --point, --person, --before, or several of them")
    with _opened(path) as store:
        erased = take_out(store, which)
    print(json.dumps({"erased": erased}) if options.json else f"{_count(erased, 'row')} erased")
    return 0


def _print_report(accounts: list[Any], refused: int, alarms: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    numbers = ("readings", "events", "results", "duplicates", "gaps", "explained", "missing", "undated")
    names, rows = ("site", "store", *numbers), []
    table = Table(title="what came, by store", box=None, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, justify="left" if name in ("site", "store") else "right", overflow="fold")
    for account in accounts:
        cells = (account.site, account.store[:8], *(f"{getattr(account, name):,}" for name in numbers))
        rows.append([shown(cell) for cell in cells])
        table.add_row(*rows[-1], style="red" if account.missing or account.conflicts else "")
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 120)  # a file has no edge that would cut the names
    is_narrow = console.measure(table, options=console.options.update(width=_WIDEST)).maximum > console.width
    if not accounts:
        console.print("nothing has come yet")
    elif is_narrow:
        console.print("\n".join(tabled([names, *rows])))
    else:
        console.print(table)
    sums = {name: sum(getattr(one, name) for one in accounts) for name in ("missing", "conflicts", "erased")}
    if sums["missing"]:
        console.print(f"{sums['missing']:,} numbers are missing without a gap record: lost, or still on their way")
    if sums["conflicts"]:
        console.print(f"{sums['conflicts']:,} numbers came twice with different content: SELECT * FROM conflict")
    if sums["erased"]:
        console.print(f"{sums['erased']:,} numbers came and were erased")
    if refused:
        console.print(f"{refused:,} messages were not what they must be: SELECT * FROM refused")
    for alarm in alarms:
        console.print(shown(f"alarm {alarm['code']}: {alarm['text']} ({alarm['count']} times)"), style="red")
    if any(alarm["code"].startswith("foreign") for alarm in alarms):
        console.print("If a site has another name from now on: bocage collect rename FILE OLD NEW")


def collect(options: argparse.Namespace) -> int:
    from agent.collect.collector import Collector
    from agent.collect.store import CollectStore, file_fault

    log_to_stderr(timed=False)
    broker = _broker(options)
    store = CollectStore(options.sqlite.absolute())  # ":memory:" too is a file: what is acknowledged must last
    collector = Collector(broker, options.prefix, store, options.keep)
    before = {number: signal.signal(number, lambda *_: collector.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _line(broker.host) as show:
            collector.run(show, options.seconds)
        accounts = store.accounts(within=_ACCOUNT)
    except sqlite3.Error as error:
        raise BocageError(f"{file_fault(options.sqlite, error)}; what is not in it was not acknowledged") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        store.db.close()  # what is not committed by now comes again
    stats = collector.stats
    missing = None if accounts is None else sum(account.missing for account in accounts)
    if options.json:
        print(json.dumps({"readings": stats.readings, "messages": stats.messages, "refused": stats.refused,
                          "sites": sorted(stats.sites), "missing": missing}))  # fmt: skip
    else:
        print(f"collected {_count(stats.readings, 'reading')} in {_count(stats.messages, 'message')} "
              f"of {_count(len(stats.sites), 'site')}; "
              f"{stats.refused} refused, {'not counted:' if missing is None else missing} missing")  # fmt: skip
    return 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _span(text: str) -> float:
    """Seconds. A month is 31 days, a year 366: it is kept a little longer rather than shorter."""
    found = re.fullmatch(r"([0-9]{1,5}) *(h|d|w|mo|y)", text)
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time; write 13mo, 400d, 2y")
    return int(found[1]) * {"h": 3600, "d": 86_400, "w": 604_800, "mo": 31 * 86_400, "y": 366 * 86_400}[found[2]]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _name(text: str) -> str:
    """A variable that a script left empty names nothing, and must not name everything."""
    try:
        if text.strip() and text.encode():
            return text
    except UnicodeEncodeError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no name")


def _word(text: str) -> str:
    """A text field of a CONNECT packet: a text of at most 65,535 bytes (MQTT 5, 1.5.4)."""
    if len(text.encode(errors="replace")) > 65_535:
        raise argparse.ArgumentTypeError("it is longer than 65,535 bytes")
    return text


def _client_id(text: str) -> str:
    """Without a name the broker has no session that it could keep."""
    return _word(_name(text))


def _topic(text: str) -> str:
    """The beginning of a topic; + stands for any level (MQTT 5, 4.7.1)."""
    if "#" in text or len(text.encode(errors="replace")) > 60_000:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not the beginning of a topic; write bocage/v1")
    return text


def _date(text: str) -> int:
    """Unix ms of the beginning of a day in UTC."""
    try:
        return round(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write 2026-01-31") from None


def _broker(options: argparse.Namespace) -> Any:
    from agent.collect.collector import BrokerSettings

    url = options.what[0]
    if "@" in url:  # wherever a "/" or "#" of the password has left it
        raise BocageError("a secret on the command line; use --username, and --password-file or BOCAGE_MQTT_PASSWORD")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path.strip("/") or port == 0:
        raise BocageError(f"{url} is not a broker's address; write mqtt://HOST:1883, or mqtts://HOST:8883 with TLS")
    password = os.environ.get("BOCAGE_MQTT_PASSWORD")
    if options.password_file is not None:
        try:
            password = options.password_file.read_text("utf-8").partition("\n")[0]
        except UnicodeDecodeError:
            raise BocageError(f"{options.password_file}: it is no UTF-8 text; its first line is the password") from None
    tls = parts.scheme == "mqtts"
    for path in (options.ca, options.cert, options.key):
        if path is not None and not path.is_file():
            raise BocageError(f"{path}: there is no such file")
    _check_tls(options.ca, options.cert, options.key)
    return BrokerSettings(
        parts.hostname, port or (8883 if tls else 1883), tls, options.protocol,
        options.username, password, options.ca, options.cert, options.key, options.client_id,
    )  # fmt: skip


def _check_tls(ca: Path | None, cert: Path | None, key: Path | None) -> None:
    """BocageError with the name of the file that OpenSSL would not take: it says "PEM lib" of each."""
    if ca is None and cert is None and key is None:
        return
    import ssl

    if key is not None and cert is None:
        raise BocageError(f"--key {key} without --cert: a key is of use with its certificate only")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca is not None:
            context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise BocageError(f"{ca}: no certificates in PEM format (-----BEGIN CERTIFICATE-----): {error}") from None
    try:
        if cert is not None:
            context.load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError as error:
        where = f"{cert}, {key}" if key else f"{cert}, and no --key"
        words = "not a certificate and its key in PEM format, without a passphrase"
        raise BocageError(f"{where}: {words}: {error}") from None


def _line(host: str) -> AbstractContextManager[Callable[[Any], None]]:
    """A progress line that is drawn anew on a terminal; nothing where standard error is no terminal."""
    if not sys.stderr.isatty():
        return nullcontext(lambda _tally: None)
    return _Line(host)


class _Line:
    def __init__(self, host: str) -> None:
        from rich.console import Console
        from rich.status import Status
        from rich.text import Text

        self._host, self._since, self._text = host, time.monotonic(), Text
        self._status = Status(f"connecting to {host}", console=Console(stderr=True))

    def __enter__(self) -> Callable[[Any], None]:
        self._status.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def _show(self, stats: Any) -> None:
        rate = stats.readings / max(1.0, time.monotonic() - self._since)
        state = "" if stats.connected else f" (not connected: {stats.error or 'trying'})"
        words = f"{self._host}{state}: {len(stats.sites)} sites, {stats.readings:,} readings ({rate:,.0f}/s), "
        self._status.update(self._text(shown(f"{words}{stats.refused} refused")))
