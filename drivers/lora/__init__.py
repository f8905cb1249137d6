"""LoRa, every way it reaches a site (README.md; payloads: codecs/README.md)."""

from __future__ import annotations

from functools import partial

from drivers.api import Driver

__all__ = ["DRIVERS"]

_lora = partial(
    Driver,
    is_radio=True,
    probe="drivers.lora.probe:probe",
    profile="drivers.lora.config.profile:KIND",
    commands="drivers.lora.commands:add",
    address={"dev_eui": "node", "dev_addr": "node", "node": "node"},
)

DRIVERS = (
    _lora(
        type="lora_chirpstack",
        open="drivers.lora.chirpstack:ChirpStack",
        config="drivers.lora.config:ChirpStackConfig",
        page="chirpstack/README.md",
        wire="lora_chirpstack",
        reach=("url", "application"),
    ),
    _lora(
        type="lora_gwmp",
        open="drivers.lora.gwmp.bus:Gwmp",
        config="drivers.lora.config:GwmpConfig",
        page="gwmp/README.md",
        wire="lora_gwmp",
        reach=("listen",),
        session_keys=({"app_key"}, {"nwk_s_key", "app_s_key"}),  # by OTAA, by ABP
        topics=("devices", "join-log", "airtime"),
    ),
    _lora(
        type="lora_rak_p2p",
        open="drivers.lora.rak:RakP2p",
        config="drivers.lora.config:RakP2pConfig",
        page="modem.md",
    ),
    _lora(
        type="lora_line",
        open="drivers.lora.line:LoraLine",
        config="drivers.lora.config:LoraLineConfig",
        page="modem.md",
    ),
    _lora(type="lora_rn2483", config="drivers.lora.config:Rn2483", page="modem.md"),
    _lora(type="lora_ebyte", config="drivers.lora.config:Ebyte", page="modem.md"),
)
