"""Rules of what other sites may ask for and read."""

from __future__ import annotations

import re
from collections.abc import Collection

from agent.lib.suggestion import did_you_mean, nearest, suggested
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.models.peers import SITE_BUS, requests_of

__all__ = ["check_peers"]


_SLIP = 0.85
"""So much alike (`nearest`) are a site's id and the same with a slip of the pen."""


def check_peers(at: Checked) -> None:
    """Report what is wrong between the keys of each peer, and the rest of the file."""
    site = at.site
    ways = {bus.other_site for bus in site.buses.values()}
    for name, peer in site.peers.items():
        keys: Keys = ("peers", name)
        if name == site.site.id:
            at.error(keys, f"{name} is this site; write the id of the other one", at_key=True)
        if site.uplink is None and name not in ways and not at.wrong("uplink"):
            text = f"no way to {name}: the file has neither an uplink nor a bus of type {SITE_BUS} with its url"
            at.error(keys, text, at_key=True)
        _check_name(at, keys, name, ways - site.peers.keys() - {None})
        for section in ("devices", "signals", "actuators"):
            if requests_of(name) in at.names(section):
                text = f'"{requests_of(name)}" has the requests of {name} (peers, line {at.line(*keys)})'
                at.error((section, requests_of(name)), f"{text}; take another name", at_key=True)
        is_list = not at.written(*keys, "allow")
        for index, actuator in enumerate(peer.allow):
            _check_allowed(at, (*keys, index) if is_list else (*keys, "allow", index), actuator)
        for index, reference in enumerate(peer.read or ()):
            _check_read(at, (*keys, "read", index), reference)


def _check_name(at: Checked, keys: Keys, name: str, others: Collection[str | None]) -> None:
    """A site that only asks needs no bus here. One that is called nearly like that of a bus may be that one."""
    near = nearest(name, [one for one in others if one is not None], _SLIP)
    if near is not None and name not in others and re.sub("[0-9]", "", near) != re.sub("[0-9]", "", name):
        at.warn(keys, f"no bus is to {name}, and one is to {near}, which has no entry here", suggested(near))


def _check_allowed(at: Checked, keys: Keys, name: str) -> None:
    """An actuator of our own. A wish that went on to a third site could come back, and would then never end."""
    if not at.known(keys, "actuator", name, at.names("actuators")):
        return
    actuator = at.site.actuators.get(name)
    if actuator is not None and at.other_site(actuator.output) is not None:
        at.error(keys, f"{name} is an output of another site ({actuator.output}): a wish is not passed on")


def _check_read(at: Checked, keys: Keys, name: str) -> None:
    site = at.site
    if "." in name:
        at.point(keys, name)
    elif name not in (known := at.names("signals") | at.names("actuators")):
        at.lacking(keys, f'unknown signal or actuator "{name}"', did_you_mean(name, known))
        return
    signal, actuator = site.signals.get(name), site.actuators.get(name)
    source = signal.from_ if signal is not None else actuator.output if actuator is not None else name
    owner = source.partition(".")[0]
    device = site.devices.get(owner)
    if {name, source, owner} & set(site.privacy.personal) or (device is not None and device.personal):
        at.error(keys, f"{name} is personal: it stays on this gateway")
    elif (asked := at.asks_for_light(source)) is not None:
        text = f"{name} tells when people come by, as it asks for light (line {at.line(*asked)})"
        at.error(keys, f"{text}: it stays on this gateway")
    elif at.other_site(source) is not None:
        at.error(keys, f"{name} is a point of another site: the reader asks that one")
