"""Rules between the keys of each section of a site. Each check reports at the value that is wrong."""

from __future__ import annotations

from datetime import date

from agent.control.calendar import DAY, PREPARED, Calendar, names
from agent.site.calendar_files import CalendarFiles
from agent.site.checks.actuators import check_actuators
from agent.site.checks.brokers import check_url
from agent.site.checks.buses import check_buses, check_drivers
from agent.site.checks.calendars import check_calendars, check_use_of_calendars
from agent.site.checks.devices import check_devices
from agent.site.checks.mistakes import check_place, check_unit
from agent.site.checks.names import Checked, PointRef
from agent.site.checks.peers import check_peers
from agent.site.checks.signals import check_signals
from agent.site.language.document import Document, Keys
from agent.site.models.site import Site
from agent.site.profiles.model import Library

__all__ = ["check_site"]


def check_site(
    document: Document, site: Site, left_out: set[Keys], library: Library, calendars: CalendarFiles
) -> None:
    """Report everything that the models by themselves cannot see."""
    at = Checked(document, site, left_out, library)
    _check_uplink(at)
    check_buses(at)
    check_devices(at)
    check_place(at)
    for index, name in enumerate((site.uplink and site.uplink.commands.allow) or ()):  # points are known by now
        _check_allowed(at, ("uplink", "commands", "allow", index), name)
    _check_names(at)
    check_signals(at)
    check_actuators(at)
    check_calendars(at, calendars)
    for index, name in enumerate(site.privacy.personal):
        at.known(("privacy", "personal", index), "device or signal", name, at.names("devices") | at.names("signals"))
    _check_privacy(at)
    _check_feasts(at)
    _check_school(at)
    _check_parts(at)
    for service, section in site.services():
        service.rules.check(at, section)
    check_use_of_calendars(at)
    check_peers(at)
    for name in site.signals:
        check_unit(at, name)
    check_drivers(at)
    at.report_unknown()


def _check_parts(at: Checked) -> None:
    """A circuit, a water point, a tank, a zone … has a name of its own: by it states and wishes are kept."""
    first: dict[str, Keys] = {}
    for service, section in at.site.services():
        groups = {} if service.is_named else {key: getattr(section, key) for key in type(section).model_fields}
        for group, entries in groups.items():
            for name in entries if isinstance(entries, dict) else ():
                where = first.setdefault(name, (service.name, group, name))
                if where[:2] != (service.name, group):
                    text = f'"{name}" is already a name in {where[0]}.{where[1]} (line {at.line(*where)})'
                    at.error((service.name, group, name), f"{text}; take another one", at_key=True)


def _check_feasts(at: Checked) -> None:
    """Check that each day in `no_holidays` is a public holiday."""
    info = at.site.site
    if not info.no_holidays or at.wrong("site", "public_holidays"):
        return
    country = Calendar(public=info.public_holidays)
    days = [date(PREPARED.start, 1, 1) + number * DAY for number in range(len(PREPARED) * 365)]
    known = frozenset[str]().union(*(names(day) for day in days if country.is_public_holiday(day)))
    for index, feast in enumerate(info.no_holidays):
        if feast not in known:
            at.warn(("site", "no_holidays", index), f"{feast} is no public holiday of {info.public_holidays} anyway")


def _check_school(at: Checked) -> None:
    """Zones A, B and C are those of the mainland: overseas each académie has a calendar of its own."""
    info = at.site.site
    given = at.site.given_holidays
    own = given is not None and bool(given.school)
    if info.school_zone is not None and not info.timezone.startswith("Europe/") and not own:
        at.warn(
            ("site", "school_zone"),
            f"the calendar of the school holidays in {info.timezone} is missing: {info.school_zone} is a zone of the "
            "mainland, its holidays are on other days",
            "leave it out: the days without school are ordinary ones then",
        )


def _check_privacy(at: Checked) -> None:
    """A promise that is not kept is refused: what is personal is not published at any step."""
    personal = [name for name, device in at.site.devices.items() if device.personal] + list(at.site.privacy.personal)
    if personal and at.written("privacy", "publish_step"):
        text = f"what is personal ({', '.join(personal)}) stays on the gateway, at every step; leave publish_step out"
        at.error(("privacy", "publish_step"), text)


def _check_uplink(at: Checked) -> None:
    up = at.site.uplink
    if up is None:
        if not at.wrong("uplink") and at.document.value(("uplink",)) is None:
            at.warn((), 'no "uplink": readings stay on the gateway')
        return
    check_url(at, ("uplink", "url"), up.url, up)
    for index, url in enumerate(up.fallback):
        check_url(at, ("uplink", "fallback", index), url, up)
    files = [key for key in ("ca", "cert", "key") if getattr(up, key) is not None]
    if files and not up.tls and not at.wrong("uplink", "url"):
        at.error(("uplink", files[0]), f"{files[0]} is for TLS, and the address begins with mqtt://; write mqtts://")
    if (up.cert is None) != (up.key is None) and not (at.wrong("uplink", "cert") or at.wrong("uplink", "key")):
        have, want = ("cert", "key") if up.key is None else ("key", "cert")
        at.error(("uplink", have), f'{have} without {want}: "{want}" is missing in uplink')
    if up.password is not None and up.username is None and not at.wrong("uplink", "username"):
        at.error(("uplink", "password"), 'a password without a user: "username" is missing in uplink')


def _check_allowed(at: Checked, keys: Keys, name: str) -> None:
    """A name that no command could ever mean is a slip; patterns, alarms, latches and indexes are taken as written."""
    actuators = at.names("actuators")
    others = name.startswith("alarm.") or name.endswith((".latch", ".baseline", ".index", ".mode", ".setpoint"))
    if "*" in name and name.endswith(".index"):
        at.warn(keys, f"{name} means no index", "name each one that a command may set")
    if "*" in name or name in actuators or others:
        return
    if "." not in name:
        at.known(keys, "actuator", name, actuators)
        return
    point = at.point(keys, name)
    if isinstance(point, PointRef) and not point.data.get("writable"):
        at.error(keys, f"{name} is read only: nothing can be commanded there")


def _check_names(at: Checked) -> None:
    """A point is named by its signal, its actuator or its device: each of these names is used once."""
    first: dict[str, tuple[str, str]] = {}
    for section, one in (("devices", "device"), ("signals", "signal"), ("actuators", "actuator")):
        for name in sorted(at.names(section)):
            if name in ("signals", "actuators") or (section, name) == ("devices", "store"):
                at.error((section, name), f'"{name}" is a topic of its own; take another name', at_key=True)
            if name in first:
                other, of = first[name]
                line = at.line(other, name)
                at.error((section, name), f'"{name}" is already the name of a {of} (line {line})', at_key=True)
            first.setdefault(name, (section, one))
    for name, bus in at.site.buses.items():
        if bus.has_pins and name in at.names("devices"):
            line = at.line("buses", name)
            at.error(("devices", name), f'"{name}" is already the name of the pins (line {line})', at_key=True)
