"""Peers of the site file: the buses that carry their requests, and the controls that turn those into wishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.control.peers import PeerRequests
from agent.core.hub import Policy
from agent.site.models.bus import profile_point
from agent.site.models.peers import SITE_BUS, requests_of
from agent.site.models.site import Site
from drivers.api import BusSpec, DeviceSpec

__all__ = ["peer_buses", "peer_controls", "peer_policies"]

_EVERY = 60.0


def peer_buses(site: Site, buses: Mapping[str, BusSpec]) -> dict[str, BusSpec]:
    """`buses` with what those to other sites need to know of the peers, and one for each peer that has none."""
    found, prefix = dict(buses), site.uplink.prefix if site.uplink is not None else "bocage/v1"
    own = {"own": site.site.id, "prefix": prefix}
    by_site = {other: name for name in buses if (other := site.buses[name].other_site) is not None}
    for other, name in by_site.items():
        spec = buses[name]
        found[name] = replace(spec, options={**spec.options, **own, **_peer(site, other)},
                              devices=(*spec.devices, *_requests(site, other)))  # fmt: skip
    for other in site.peers.keys() - by_site.keys():
        options = {"site": other, "every": _EVERY, "uplink": True, **own, **_peer(site, other)}
        found[requests_of(other)] = BusSpec(requests_of(other), SITE_BUS, options, _requests(site, other))
    return found


def peer_controls(site: Site) -> list[PeerRequests]:
    """One control for each peer that may ask for something."""
    found = []
    for other, peer in site.peers.items():
        if peer.allow:
            points = {f"{requests_of(other)}.{name}": name for name in peer.allow}
            found.append(PeerRequests(requests_of(other), other, points))
    return found


def peer_policies(site: Site) -> dict[str, Policy]:
    """A request that is repeated is no news."""
    return {requests_of(other): Policy() for other, peer in site.peers.items() if peer.allow}


def _peer(site: Site, other: str) -> dict[str, Any]:
    peer = site.peers.get(other)
    if peer is None:
        return {}
    return {"peer": {"allow": list(peer.allow), "read": None if peer.read is None else list(peer.read)}}


def _requests(site: Site, other: str) -> tuple[DeviceSpec, ...]:
    """The device whose points are the requests of another site."""
    peer = site.peers.get(other)
    if peer is None or not peer.allow:
        return ()
    points = {}
    for name in peer.allow:
        actuator = site.actuators[name]
        owner, _, point = actuator.output.partition(".")
        device = site.devices.get(owner)
        data = ((device.profile_data if device is not None else None) or {}).get("points", {}).get(point, {})
        kind = "state" if actuator.kind == "relay" else "telemetry"
        points[name] = profile_point(kind=kind, low=data.get("low"), high=data.get("high"))
    return (DeviceSpec(requests_of(other), {}, {"name": "", "points": points}, options={"requests": True}),)
