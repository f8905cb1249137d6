"""Codecs: from the bytes of a radio node to named values, and back (README.md).

    codec = codec_of(profile)
    decoded = await codec.decode(bytes.fromhex("03671001"), 85, None)
    decoded.data                                  # {"temperature": 27.2}

A codec that fails costs the uplink it failed on: it raises CodecError, and the next one is tried anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.lora.codecs.result import Codec, CodecError, Decoded

__all__ = ["Codec", "CodecError", "Decoded", "codec_of"]


def codec_of(profile: Mapping[str, Any], variables: Mapping[str, str | float] | None = None) -> Codec:
    """The codec of a profile as `agent.site` gives it: its `lora` has struct, tlv, cayenne or codec.

    `variables` are the device's own; a JavaScript codec finds them in `input.variables`.
    """
    lora = profile["lora"]
    if lora.get("codec"):
        from drivers.lora.codecs.javascript import JavaScript

        return JavaScript(lora, variables)
    if lora.get("cayenne"):
        from drivers.lora.codecs.cayenne import Cayenne

        return Cayenne(lora)
    if lora.get("tlv"):
        from drivers.lora.codecs.tlv import Tlv

        return Tlv(lora)
    from drivers.lora.codecs.structs import Struct

    return Struct(lora)
