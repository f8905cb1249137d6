"""Payloads as base64 text, which each program writes in its own way."""

from __future__ import annotations

import binascii

__all__ = ["from_base64"]


def from_base64(text: str) -> bytes:
    """Either alphabet, padded or not. ValueError (binascii.Error is one) for anything else."""
    text = text.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    return binascii.a2b_base64((text + "=" * (-len(text) % 4)).encode("ascii"), strict_mode=True)
