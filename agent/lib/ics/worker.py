"""The child process that reads one iCalendar (RFC 5545), from its text or from the network. It imports nothing of ours.

The request is JSON on its standard input, the answer JSON on its standard output: begins and ends in Unix seconds, and
nothing else. What an event is called and which people it names is left out before anything else looks at it: of an
event only the properties of KEPT go on.

What is harmful in it finds little: an environment of a few names, and LIMITS that the kernel keeps.
"""

import base64
import json
import re
import resource
import signal
import sys
import urllib.error
import urllib.request
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

BYTES = 1_000_000
"""The largest calendar."""
CPU = 10
"""Seconds of processor time."""
MOST = 10_000
"""Occurrences in the time that is asked for."""
PATIENCE = 20.0
"""Seconds that a server may be silent."""

LIMITS = {
    resource.RLIMIT_CPU: CPU,
    resource.RLIMIT_AS: 256 << 20,  # bytes; a calendar of 1 MB takes some 60 MB
    resource.RLIMIT_NOFILE: 32,
    resource.RLIMIT_FSIZE: 0,  # it writes no files
    resource.RLIMIT_NPROC: 0,  # and starts neither processes nor threads (root is exempt from that)
    resource.RLIMIT_CORE: 0,
}
"""The limits of the process, from its start on."""

KEPT = {"UID", "DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID", "SEQUENCE", "STATUS"}
"""The properties of an event that say when it is."""
_TIMES = {"DTSTART", "DTEND", "RDATE", "EXDATE", "RECURRENCE-ID"}
_EXACT = "X-EXACT"
"""Our property of an event: the hours, minutes and seconds of its DURATION."""
_OFTEN = ("SECONDLY", "MINUTELY", "HOURLY")
"""The frequencies of a rule that can make too much, the worst first."""
_STEP = timedelta(days=7)
"""Occurrences are asked for by this much at a time, so that a rule without end is found out early."""

_PARAMETER = r';[A-Za-z0-9-]+=(?:"[^"]*"|[^";:,]*)(?:,(?:"[^"]*"|[^";:,]*))*'
_LINE = re.compile(rf"([A-Za-z0-9-]+)((?:{_PARAMETER})*):(.*)", re.S)
_FIELD = re.compile(r';([A-Za-z0-9-]+)=("[^"]*"|[^";:,]*)')
_DATE = re.compile(r"\d{8}")
_DATE_TIME = re.compile(r"\d{8}T\d{6}Z?")


class WrongIcs(Exception):
    """The calendar is wrong at `line` (from 1); 0 where it is of none."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class CpuError(BaseException):
    """The processor time is used up. No Exception: the libraries must not take it for one of theirs."""


class Property(NamedTuple):
    """One content line, unfolded, with the number of its first line in the file."""

    line: int
    text: str
    name: str
    parameters: dict[str, str]
    value: str


def main() -> None:
    """Answer one request."""
    for what, most in LIMITS.items():
        resource.setrlimit(what, (most, most + (what == resource.RLIMIT_CPU)))  # first the signal that tells why
    signal.signal(signal.SIGXCPU, _spent)
    request = json.load(sys.stdin)
    answer, why = None, ""
    try:
        answer = _answer(request)
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    except MemoryError:
        why = _TOO_LARGE
    except CpuError:
        why = _TOO_LONG
    json.dump(answer or {"error": why, "line": 0}, sys.stdout)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request, or what is wrong with the calendar."""
    try:
        url = request.get("url")
        content = fetched(url) if url is not None else base64.b64decode(request["content"])
        return {"spans": spans(content, request["timezone"], request["since"], request["until"])}
    except WrongIcs as error:
        return {"error": str(error), "line": error.line}


_TOO_LARGE = f"it takes more than {LIMITS[resource.RLIMIT_AS] >> 20} MiB of memory"
_TOO_LONG = f"it takes more than {CPU} s of processor time"


def _spent(*_: object) -> None:
    """The signal of the processor time: once is enough."""
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    raise CpuError


# -- from the network --------------------------------------------------------------------------------------------------


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow a server to another page, and to none without TLS."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith("https://"):
            return None  # an HTTPError of the handlers after this one
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetched(url: str) -> bytes:
    """The content of a page. WrongIcs if it is not to be had; its text does not name the address, which is a secret."""
    if not url.lower().startswith("https://"):
        raise WrongIcs(0, "the address does not begin with https://")
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPSHandler(), urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(), urllib.request.HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={"User-Agent": "bocage", "Accept": "text/calendar, */*;q=0.1"})
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            content: bytes = answer.read(BYTES + 1)
    except urllib.error.HTTPError as error:
        elsewhere = "the server sends on to an address without https, or in a circle"
        raise WrongIcs(0, elsewhere if 300 <= error.code < 400 else f"the server answers {error.code}") from None
    except urllib.error.URLError as error:
        raise WrongIcs(0, f"the server cannot be reached: {_reason(error.reason)}") from None
    except (OSError, ValueError) as error:
        raise WrongIcs(0, f"the server cannot be reached: {_reason(error)}") from None
    except Exception as error:  # noqa: BLE001  http.client has errors of its own for what is no HTTP
        raise WrongIcs(0, f"it cannot be fetched: {type(error).__name__}") from None
    return content


def _reason(error: object) -> str:
    """Why, without what a server or an address put into it."""
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return getattr(error, "verify_message", None) or (str(error) if isinstance(error, TimeoutError) else "no answer")


# -- its text ----------------------------------------------------------------------------------------------------------


def spans(content: bytes, timezone: str, since: int, until: int) -> list[tuple[int, int]]:
    """Begin and end of each occurrence that touches the time from `since` to `until` (all in Unix s).

    WrongIcs if it is no calendar, or has too many of them.
    """
    if len(content) > BYTES:
        raise WrongIcs(0, "it is larger than 1 MB")
    lines = _lines(content.decode("utf-8-sig", "replace"))
    zone = ZoneInfo(timezone)
    begin, end = (datetime.fromtimestamp(at, UTC) for at in (since, until))
    kept = _Kept(lines, timezone)
    if kept.cancels:
        return []
    found: set[tuple[int, int]] = set()
    whole = [text for events in kept.groups.values() for event in events for text in event.texts]
    why = ""
    try:
        try:
            _expand(kept.head, whole, zone, begin, end, found)
        except WrongIcs as error:
            why = str(error)
        except MemoryError:
            why = _TOO_LARGE
        except Exception:  # noqa: BLE001  whatever the libraries say of it: look for the event
            _blame(kept, zone, begin, end)
    except CpuError:  # it may come while another error is dealt with
        why = _TOO_LONG
    if why:  # said here: inside of `except` all that was made is in memory still
        found.clear()
        raise WrongIcs(kept.often, why)
    return sorted(found)


class _Event(NamedTuple):
    line: int
    texts: list[str]


def _lines(text: str) -> list[Property]:
    """The content lines: a line that begins with a space or a tab goes on with the one before."""
    unfolded: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line[:1] in (" ", "\t") and unfolded:
            begins, begun = unfolded[-1]
            unfolded[-1] = begins, begun + line[1:]
        elif line:
            unfolded.append((number, line))
    if not unfolded or unfolded[0][1].strip().upper() != "BEGIN:VCALENDAR":
        first = unfolded[0][0] if unfolded else 1
        raise WrongIcs(first, "this is no iCalendar: it does not begin with BEGIN:VCALENDAR")
    return [_property(number, line) for number, line in unfolded]


def _property(number: int, line: str) -> Property:
    match = _LINE.fullmatch(line)
    if match is None:
        raise WrongIcs(number, "this is no line of an iCalendar; such a line is NAME:VALUE")
    parameters = {key.upper(): value.strip('"') for key, value in _FIELD.findall(match[2])}
    return Property(number, line, match[1].upper(), parameters, match[3].strip())


class _Kept:
    """The part of a calendar that goes on: the lines of its time zones, and its events by their UID."""

    def __init__(self, lines: list[Property], timezone: str) -> None:
        self.head = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:bocage"]
        self.groups: dict[str, list[_Event]] = {}
        self.cancels = False
        """Whether it only takes back what it names (METHOD:CANCEL)."""
        rules = ((_OFTEN.index(freq), one.line) for one in lines if (freq := _frequency(one)) in _OFTEN)
        self.often = min(rules, default=(0, 0))[1]
        """The line of the rule that repeats most often, if it is within a day; else 0."""
        self._timezone = timezone
        self._zones = {one.value for one in lines if one.name == "TZID"}
        self._open: list[Property] = []
        self._event: list[Property] = []
        for one in lines:
            self._take(one)
        if self._open:
            begun = self._open[-1]
            raise WrongIcs(lines[-1].line, f"END:{begun.value} is missing (it begins on line {begun.line})")

    def _take(self, one: Property) -> None:
        if one.name == "BEGIN":
            self._open.append(one)
        inside = [part.value.upper() for part in self._open]
        if not inside:
            raise WrongIcs(one.line, "this stands after the calendar's END:VCALENDAR")
        if inside[1:2] == ["VTIMEZONE"]:
            self.head.append(one.text)
        elif inside[1:] == ["VEVENT"]:
            self._event = [] if one.name == "BEGIN" else [*self._event, one] if one.name in KEPT else self._event
        elif len(inside) == 1:
            self._take_head(one)
        if one.name == "END":
            self._close(one, inside)

    def _take_head(self, one: Property) -> None:
        if one.name == "X-WR-TIMEZONE" and _is_zone(one.value):
            self.head.append(one.text)
        elif one.name == "METHOD":
            self.cancels = one.value.upper() == "CANCEL"

    def _close(self, one: Property, inside: list[str]) -> None:
        begun = self._open.pop()
        if begun.value.upper() != one.value.upper():
            raise WrongIcs(one.line, f"END:{one.value} ends what BEGIN:{begun.value} begins (line {begun.line})")
        if inside[1:] == ["VEVENT"]:
            texts = _event(begun.line, self._event, self._zones, self._timezone)
            uid = next((part.value for part in self._event if part.name == "UID"), f"line {begun.line}")
            self.groups.setdefault(uid, []).append(_Event(begun.line, texts))


def _frequency(one: Property) -> str:
    found = re.search(r"(?:^|;)FREQ=([A-Z]+)", one.value.upper()) if one.name == "RRULE" else None
    return found[1] if found else ""


def _event(line: int, event: list[Property], zones: set[str], timezone: str) -> list[str]:
    """The lines of an event, each checked; times without a zone get the site's."""
    names = [one.name for one in event]
    if "DTSTART" not in names:
        raise WrongIcs(line, "this event has no DTSTART")
    _check_order(event)
    periods = any(one.parameters.get("VALUE", "").upper() == "PERIOD" for one in event)  # these have ends of their own
    texts = ["BEGIN:VEVENT", *([] if "UID" in names else [f"UID:line {line}"])]
    for one in event:
        if one.name in _TIMES:
            texts.append(_time(one, zones, timezone))
        elif one.name in ("RRULE", "DURATION"):
            texts.append(_parsed(one))
        else:
            texts.append(f"{one.name}:{one.value}")
        if one.name == "DURATION" and "T" in one.value and not periods:
            texts.append(f"{_EXACT}:PT{one.value.split('T', 1)[1]}")
    return [*texts, "END:VEVENT"]


def _check_order(event: list[Property]) -> None:
    """Two times of one zone compare as text. The libraries would turn the event round."""
    found = {one.name: one for one in event if one.name in ("DTSTART", "DTEND", "DURATION")}
    start, end, lasts = found["DTSTART"], found.get("DTEND"), found.get("DURATION")
    if lasts is not None and lasts.value.startswith("-"):
        raise WrongIcs(lasts.line, f"DURATION {lasts.value[:20]} ends the event before its DTSTART (line {start.line})")
    if end is None or start.parameters.get("TZID") != end.parameters.get("TZID"):
        return
    if len(start.value) == len(end.value) and end.value < start.value:
        raise WrongIcs(end.line, f"DTEND {end.value[:20]} is before DTSTART {start.value[:20]} (line {start.line})")


def _time(one: Property, zones: set[str], timezone: str) -> str:
    """A property that is a date, a time, or a list of them. VALUE=DATE is told from the value, as makers forget it."""
    kind = one.parameters.get("VALUE", "").upper()
    values = [value.strip() for value in one.value.split(",")]
    periods = kind == "PERIOD" and one.name == "RDATE"
    for value in values:
        for part in value.split("/", 1) if periods else [value]:
            if not periods or not part.startswith(("P", "+P")):
                _moment(one, part)
    if all(_DATE.fullmatch(value) for value in values):
        return f"{one.name};VALUE=DATE:{','.join(values)}"
    if any(_DATE.fullmatch(value) for value in values):
        raise WrongIcs(one.line, f"{one.name} has dates and times at once")
    named = one.parameters.get("TZID")
    if named is not None and named not in zones and not _is_zone(named):
        raise WrongIcs(one.line, f"TZID={named[:60]} is no time zone of this calendar, and none that is known")
    floats = not all("Z" in value for value in values)
    zone = (named if named is not None else timezone) if floats else None
    return f"{one.name}{';VALUE=PERIOD' * periods}{'' if zone is None else f';TZID={_quoted(zone)}'}:{','.join(values)}"


def _moment(one: Property, text: str) -> None:
    """Check that a text is a date or a time."""
    try:
        if _DATE.fullmatch(text):
            datetime.strptime(text, "%Y%m%d")
            return
        if _DATE_TIME.fullmatch(text):
            datetime.strptime(text.removesuffix("Z"), "%Y%m%dT%H%M%S")
            return
    except ValueError:
        pass
    raise WrongIcs(one.line, f'{one.name} "{text[:40]}" is no date and no time; such are 20270326 and 20270326T180000')


def _quoted(zone: str) -> str:
    return f'"{zone}"' if re.search("[,;:]", zone) else zone


def _parsed(one: Property) -> str:
    """A rule or a duration, as the library understands it."""
    from icalendar.prop import vDuration, vRecur

    try:
        found = vRecur.from_ical(one.value) if one.name == "RRULE" else vDuration.from_ical(one.value)
        if one.name == "RRULE" and "FREQ" not in found:
            raise ValueError
    except Exception:  # noqa: BLE001  the library has several for what it does not understand
        example = "FREQ=WEEKLY;BYDAY=TU" if one.name == "RRULE" else "PT2H"
        raise WrongIcs(one.line, f'{one.name} "{one.value[:60]}" is not understood; such is {example}') from None
    return f"{one.name}:{one.value}"


def _is_zone(name: str) -> bool:
    from icalendar.timezone import tzp

    return tzp.timezone(name) is not None


# -- its occurrences ---------------------------------------------------------------------------------------------------


def _expand(
    head: list[str], events: list[str], zone: ZoneInfo, since: datetime, until: datetime, found: set[tuple[int, int]]
) -> None:
    """Add the occurrences of these events to those that were found."""
    import icalendar
    import recurring_ical_events

    calendar = icalendar.Calendar.from_ical("\r\n".join([*head, *events, "END:VCALENDAR", ""]))
    query = recurring_ical_events.of(calendar)
    at = since
    while at < until:
        stop = min(at + _STEP, until)
        for one in query.between(at, stop):
            if str(one.get("STATUS", "")).upper() != "CANCELLED":
                begin, end = _instant(one["DTSTART"].dt, zone), _end(one, zone)
                if end > begin:
                    found.add((begin, end))
        if len(found) > MOST:
            raise WrongIcs(0, f"it has more than {MOST} occurrences in the time from {since:%Y-%m-%d} on")
        at = stop


def _end(one: Any, zone: ZoneInfo) -> int:
    """Unix seconds. The libraries add a duration to the time on the wall; so are its days and weeks meant, while its
    hours, minutes and seconds are exact time (RFC 5545, 3.3.6)."""
    from icalendar.prop import vDuration

    end = one["DTEND"].dt
    if _EXACT not in one or not isinstance(end, datetime):
        return _instant(end, zone)
    exact: timedelta = vDuration.from_ical(str(one[_EXACT]))
    return _instant(end - exact, zone) + int(exact.total_seconds())


def _instant(at: date, zone: ZoneInfo) -> int:
    """Unix seconds; a date begins at midnight of the site's zone."""
    if not isinstance(at, datetime):
        at = datetime.combine(at, time(), zone)
    return int((at if at.tzinfo is not None else at.replace(tzinfo=zone)).timestamp())


def _blame(kept: _Kept, zone: ZoneInfo, since: datetime, until: datetime) -> None:
    """Find the event for which the libraries fail, and raise with its line."""
    for events in kept.groups.values():
        try:
            _expand(kept.head, [text for event in events for text in event.texts], zone, since, until, set())
        except (WrongIcs, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001
            text = f"this event is not understood ({type(error).__name__})"
            raise WrongIcs(events[0].line, text) from None
    raise WrongIcs(1, "its time zones are not understood")


if __name__ == "__main__":
    main()
