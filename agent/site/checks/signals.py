"""Rules between the keys of signals and of the points or pins that they come from."""

from __future__ import annotations

from typing import Any

from agent.site.checks.names import Checked, Pin, PointRef
from agent.site.checks.signal_units import check_units
from agent.site.language.document import Keys
from agent.site.language.problems import listed
from agent.site.language.values import DURATION, Rate
from agent.site.models.signals import ENERGIES, VOLUMES

__all__ = ["check_signals"]

_CURRENTS = {"uA", "mA", "A"}


def check_signals(at: Checked) -> None:
    """Check each signal against its source."""
    for name in at.site.signals:
        _check_signal(at, name)


def _check_signal(at: Checked, name: str) -> None:
    signal = at.site.signals[name]
    keys: Keys = ("signals", name)
    source = at.point((*keys, "from"), signal.from_)
    counter = signal.kind == "counter"
    if signal.signal is None and isinstance(signal.scale, tuple) and not at.wrong(*keys, "signal"):
        at.error((*keys, "scale"), 'two ends go with "signal: 4-20mA"; without it write a factor')
    if signal.signal is not None and not isinstance(signal.scale, tuple) and not at.wrong(*keys, "scale"):
        at.error((*keys, "scale"), "4-20mA needs scale: what 4 mA and 20 mA mean, such as [0, 100]")
    if signal.signal is not None and at.written(*keys, "offset"):
        at.error((*keys, "offset"), "offset does not go with 4-20mA; write it into scale", at_key=True)
    if signal.signal is not None and counter:
        at.error((*keys, "signal"), "signal: 4-20mA cannot be combined with kind: counter", at_key=True)
    for key in ("per_pulse", "initial_index", "rollover"):
        if at.written(*keys, key) and not counter and not at.wrong(*keys, "kind"):
            at.error((*keys, key), f'"{key}" is for counters; write kind: counter as well', at_key=True)
    if counter and isinstance(signal.scale, float) and signal.scale != 1:
        at.error((*keys, "scale"), "a counter has no scale; per_pulse says how much one count is", at_key=True)
    if counter and signal.offset:
        at.error((*keys, "offset"), "a counter has no offset; initial_index says what its dial shows", at_key=True)
    _check_max_rate(at, name, source)
    if isinstance(source, PointRef):
        if counter and at.is_contact(source):
            text = f"{signal.from_} is on or off, and polls do not see how often it was: {name} counts once and stops"
            at.warn((*keys, "from"), text, "take a point that counts, or a pin (gpio.17)")
        _check_point_signal(at, name, source)
    if isinstance(source, Pin):
        _check_pin_signal(at, name)


def _check_max_rate(at: Checked, name: str, source: Any) -> None:
    """A flow bounds a counter of water, a power one of energy, a plain rate anything."""
    signal = at.site.signals[name]
    rate = signal.max_rate
    keys: Keys = ("signals", name, "max_rate")
    if not isinstance(rate, Rate) or at.wrong("signals", name, "kind"):
        return
    noun, units = ("a flow", VOLUMES) if rate.of == "L/h" else ("a power", ENERGIES)
    unit = signal.unit or (source.data["unit"] if isinstance(source, PointRef) else "") or ""
    if signal.kind != "counter":
        at.error(keys, f"{noun} bounds a counter, which {name} is not; write how fast it may change, such as 5/min")
    elif unit not in units:
        better = "5 m3/h" if unit in VOLUMES else "40 kW" if unit in ENERGIES else "60/h"
        at.error(keys, f"{noun} bounds a counter in {listed(units)}; {name} is in {unit or 'no unit'}: write {better}")


def _check_point_signal(at: Checked, name: str, source: PointRef) -> None:
    signal = at.site.signals[name]
    keys: Keys = ("signals", name)
    for key in ("debounce", "pull", "active"):
        if at.written(*keys, key):
            at.error((*keys, key), f'"{key}" is for pins, and {signal.from_} is not a pin', at_key=True)
    unit = source.data["unit"]
    if unit in ENERGIES and signal.unit in VOLUMES:
        at.error((*keys, "unit"), f"{signal.from_} is an energy, in {unit}: no factor makes {signal.unit} of it")
    check_units(at, name, source)
    if signal.signal is not None and unit not in _CURRENTS:
        at.error(
            (*keys, "signal"), f"{signal.from_} is in {unit or 'no unit'}; a 4-20mA source is in uA or mA"
        )  # fmt: skip
    if signal.stale_after is not None:
        _check_stale_after(at, (*keys, "stale_after"), name, signal.stale_after, source)


def _check_stale_after(at: Checked, keys: Keys, name: str, stale_after: float, source: PointRef) -> None:
    """A signal is read before it is stale, and is stale with its device. A longer time than the device's default of
    three polls is no slip: such files say how long a value may drive something, and are right if the poll is longer."""
    device = at.site.devices[source.device]
    interval = device.point_interval(source.point)
    own, line = DURATION.format(stale_after), at.line("devices", source.device)
    if interval is not None and stale_after < interval:
        at.error(
            keys,
            f"{name} goes stale after {own}, before {source.device} is read again "
            f"(every {DURATION.format(interval)}, line {line})",
        )
    elif device.stale_after is not None and stale_after > device.stale_after:
        at.warn(
            keys,
            f"{own} has no effect: {name} is stale with {source.device}, after {DURATION.format(device.stale_after)} "
            f"(line {line})",
            "write the longer time there",
        )


def _check_pin_signal(at: Checked, name: str) -> None:
    signal = at.site.signals[name]
    keys: Keys = ("signals", name)
    if signal.signal is not None:
        at.error((*keys, "signal"), f"{signal.from_} is a pin: it measures no current", at_key=True)
    if signal.kind == "telemetry":
        at.error((*keys, "kind"), f"{signal.from_} is a pin; write state or counter")
    if signal.kind != "counter" and at.written(*keys, "scale"):
        at.error((*keys, "scale"), f"{signal.from_} is on or off; it has no scale", at_key=True)
