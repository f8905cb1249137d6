"""Debian's mosquitto with certificates made for the occasion, and a client that is not ours."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from tests.fakes.ports import free_port

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def documented_acl(title: str = "acl", end: str = "\nA user name") -> str:
    """The access list that docs/mqtt.md gives to the reader under that title."""
    text = (Path(__file__).parents[2] / "docs/mqtt.md").read_text().partition(f"# {title}\n")[2]
    return "\n".join(line.strip() for line in text.partition(end)[0].splitlines())


def certificates(folder: Path, *names: str, days: int = 30) -> None:
    """A CA (ca.pem) and, for each name, name.pem and name.key with CN=name; `broker` is valid for localhost."""

    # OpenSSL 3.5 makes none that has ended: it is told an earlier day.
    signer = ("openssl",) if days > 0 else ("faketime", "-f", f"{days - 1}d", "openssl")

    def openssl(*words: str, by: tuple[str, ...] = ("openssl",)) -> None:
        subprocess.run([*by, *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=test CA")
    (folder / "san.cnf").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in names:
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", str(max(days, 1)), "-extfile", "san.cnf", by=signer)  # fmt: skip


def trusting(folder: Path) -> ssl.SSLContext:
    """A client that trusts ca.pem, which Python 3.13's own context finds too plain."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folder / "ca.pem")
    return context


@contextlib.asynccontextmanager
async def mosquitto(folder: Path, *lines: str) -> AsyncIterator[int]:
    """A broker on the port that is given; `lines` are added to its configuration, after its listener."""
    port = free_port()
    conf = folder / "mosquitto.conf"
    conf.write_text("\n".join(["user root", f"listener {port} 127.0.0.1", *lines, ""]))
    process = await asyncio.create_subprocess_exec(
        MOSQUITTO, "-c", str(conf), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(5):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
