"""Point to point radio: what the modem can do, what the law lets it do, and which nodes need a name."""

from __future__ import annotations

from agent.site.checks.names import Checked
from agent.site.language.values import number
from agent.site.models.buses import LoraLine, RakP2p

__all__ = ["check_radio", "needs_node"]

_BANDWIDTHS = (125_000, 250_000, 500_000)
_WEAKEST, _STRONGEST = 5, 22  # dBm: AT+P2P of the RAK3172
_BAND = (863e6, 870e6)  # Hz: non-specific short range devices in Europe, ERC/REC 70-03 annex 1
_STRONG = (869.4e6, 869.65e6)  # Hz, where 500 mW ERP are allowed: more than the modem has
_USUAL = 14  # dBm: 25 mW ERP, everywhere else


def check_radio(at: Checked, name: str) -> None:
    """Settings that the modem would refuse are errors, those that the law does not allow are warnings."""
    bus = at.site.buses[name]
    if not isinstance(bus, RakP2p):
        return
    if round(bus.bandwidth) not in _BANDWIDTHS:
        text = f"{number(bus.bandwidth / 1e3)} kHz is no bandwidth of this modem; write 125 kHz, 250 kHz or 500 kHz"
        at.error(("buses", name, "bandwidth"), text)
    if not _WEAKEST <= bus.power <= _STRONGEST or bus.power != round(bus.power):
        text = f"{number(bus.power)} dBm is no power of this modem; write {_WEAKEST} to {_STRONGEST} dBm in whole steps"
        at.error(("buses", name, "power"), text)
    mhz = number(bus.frequency / 1e6)
    if not _BAND[0] <= bus.frequency <= _BAND[1]:
        at.warn(("buses", name, "frequency"), f"{mhz} MHz is outside 863-870 MHz, the band of LoRa in Europe")
    elif _USUAL < bus.power <= _STRONGEST and not _STRONG[0] <= bus.frequency <= _STRONG[1]:
        text = f"{number(bus.power)} dBm is above {_USUAL} dBm (25 mW), the most at {mhz} MHz (ERC/REC 70-03)"
        at.warn(("buses", name, "power"), text)


def needs_node(at: Checked, name: str) -> bool:
    """Whether a device of this bus is told from others by `node`: always, but for the only one of a lora_line."""
    bus = at.site.buses[name]
    sharing = [device for device in at.site.devices.values() if device.bus == name]
    return isinstance(bus, RakP2p) or (isinstance(bus, LoraLine) and len(sharing) > 1)
