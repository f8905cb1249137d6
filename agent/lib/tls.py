"""TLS contexts from files that may change, or be lost, while the agent runs."""

from __future__ import annotations

import logging
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

from agent.lib.files import open_regular

__all__ = ["client_context", "why_refused"]

log = logging.getLogger("bocage.tls")

_BY_THE_CLOCK = {9, 10}  # openssl/x509_vfy.h: CERT_NOT_YET_VALID, CERT_HAS_EXPIRED
_BY_ITS_NAME = {62, 64}  # HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH
_NO_AUTHORITY = {79}  # INVALID_CA
_BY_ANOTHER = {2, 7, 18, 19, 20, 21}  # UNABLE_TO_GET_ISSUER_CERT, CERT_SIGNATURE_FAILURE, self signed, and their like
_FOR_ANOTHER_USE = {26}  # INVALID_PURPOSE
_TOO_WEAK = {66, 67, 68}  # EE_KEY_TOO_SMALL, CA_KEY_TOO_SMALL, CA_MD_TOO_WEAK

_last: dict[tuple[Path | None, Path | None, Path | None], ssl.SSLContext] = {}
"""The contexts that were made last, by their files."""


def client_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return a context from the files as they are now, or the last one while they cannot be used.

    `ca` None: the system's authorities. OSError if the files could never be used since the agent started.
    """
    files = ca, cert, key
    try:
        for path in filter(None, files):
            os.close(open_regular(path))  # OpenSSL would wait for a pipe
        context = ssl.create_default_context(cafile=ca)
        # Python 3.13 asks for extensions that `openssl req -x509` does not give an authority: decisions/0038.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert is not None:
            context.load_cert_chain(cert, key, password=lambda: "")  # "": do not prompt for one
    except OSError as error:
        if files not in _last:
            raise
        log.warning('certificate unusable reason="%s" next=the one before is used', error)
        return _last[files]
    _last[files] = context
    return context


def why_refused(error: ssl.SSLCertVerificationError) -> str:
    """Why the broker's certificate is not accepted, and what to do about it."""
    return f"the broker's certificate is not accepted: {error.verify_message.rstrip('.')}{_advice(error.verify_code)}"


def _advice(code: int) -> str:
    if code in _BY_THE_CLOCK:
        return f"; this box's clock says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: it may be the clock that is wrong"
    if code in _BY_ITS_NAME:
        return "; it must hold what the URL names: sign it with subjectAltName=DNS:NAME, or IP:ADDRESS"
    if code in _NO_AUTHORITY:
        return (
            "; the authority (`ca`) does not say that it is one: make it with basicConstraints=critical,CA:TRUE "
            "and keyUsage=critical,keyCertSign"
        )
    if code in _BY_ANOTHER:
        return "; `ca` must hold the authority that signed it, and the broker must send those between the two"
    if code in _FOR_ANOTHER_USE:
        return "; it must be one for a server: sign it with extendedKeyUsage=serverAuth, or with none"
    if code in _TOO_WEAK:
        return "; make it with a key of RSA 2048 bits or more, or P-256, and sign with SHA-256"
    return ""
