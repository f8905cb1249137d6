"""A town's own authority, made in the ways that are usual, and a real Mosquitto whose certificate it signed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.fakes.mosquitto import mosquitto


class Way(NamedTuple):
    """How an authority and its broker's certificate are made: their keys, and the extensions of both."""

    authority: str
    broker: str
    key: str = "ec -pkeyopt ec_paramgen_curve:P-256"


_NONE = "subjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n"
_HOST = "subjectAltName=DNS:localhost\n"
WAYS = {
    "openssl req -x509": Way("subjectKeyIdentifier=hash\nbasicConstraints=critical,CA:TRUE\n", _HOST),
    "Mosquitto's manual": Way("basicConstraints=CA:TRUE\nsubjectKeyIdentifier=hash\n", _NONE, "rsa:2048"),
    "no extension at all": Way("", _NONE + _HOST),
    "basicConstraints only": Way(_NONE + "basicConstraints=CA:TRUE\n", _NONE + _HOST),
    "easy-rsa": Way(
        "basicConstraints=CA:TRUE\nkeyUsage=cRLSign,keyCertSign\nsubjectKeyIdentifier=hash\n",
        _HOST + "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nkeyUsage=digitalSignature,keyEncipherment\n",
        "rsa:2048",
    ),
    "mkcert": Way(
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n",
        _HOST + "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n",
    ),
}


def make(folder: Path, way: Way, name: str = "localhost") -> dict[str, Any]:
    """ca.pem, broker.pem and broker.key in this folder; what an uplink needs to trust them."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    (folder / "req.cnf").write_text("[req]\ndistinguished_name=name\n[name]\n[ca]\n" + way.authority)
    (folder / "broker.cnf").write_text(way.broker)
    key = ("-config", "req.cnf", "-newkey", *way.key.split(), "-nodes")
    kind = ("-x509", "-extensions", "ca") if way.authority else (_first_version(),)
    openssl("req", *kind, *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Mairie")
    openssl("req", *key, "-keyout", "broker.key", "-out", "broker.csr", "-subj", f"/CN={name}")
    openssl("x509", "-req", "-in", "broker.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "broker.pem", "-extfile", "broker.cnf")  # fmt: skip
    return {"host": "localhost", "tls": True, "ca": folder / "ca.pem"}


def _first_version() -> str:
    """OpenSSL 3.0 makes X.509 version 1 of what has no extension; 3.5 has to be asked for it."""
    said = subprocess.run(["openssl", "req", "-help"], capture_output=True, text=True, check=True)
    return "-x509v1" if "-x509v1" in said.stdout + said.stderr else "-x509"


def served(folder: Path) -> tuple[str, ...]:
    return "allow_anonymous true", f"certfile {folder}/broker.pem", f"keyfile {folder}/broker.key"


@pytest.mark.parametrize("way", WAYS)
async def test_an_authority_made_in_a_usual_way_is_trusted(site: Any, until: Any, tmp_path: Path, way: str) -> None:
    """Python 3.13's default asks for extensions that most of these do not have."""
    tls = make(tmp_path, WAYS[way])
    async with mosquitto(tmp_path, *served(tmp_path)) as port, site.up(port, **tls) as uplink:
        await until(lambda: uplink.status()["state"] == "connected" or uplink.status()["error"])
        assert uplink.status()["state"] == "connected", uplink.status()["error"]


@pytest.mark.parametrize(
    ("way", "name", "advice"),
    [
        (Way("basicConstraints=CA:FALSE\n", _HOST), "x", "basicConstraints=critical,CA:TRUE"),
        (WAYS["openssl req -x509"]._replace(broker=_NONE), "broker.example", "subjectAltName=DNS:NAME"),
        (WAYS["openssl req -x509"]._replace(broker="subjectAltName=IP:192.0.2.1\n"), "x", "subjectAltName=DNS:NAME"),
        (Way("basicConstraints=CA:TRUE\nkeyUsage=digitalSignature\n", _HOST), "x", "keyUsage=critical,keyCertSign"),
        (WAYS["mkcert"]._replace(broker=_HOST + "extendedKeyUsage=clientAuth\n"), "x", "extendedKeyUsage=serverAuth"),
    ],
    ids=["no authority", "another name", "an address", "no use of signing", "a client's"],
)
async def test_what_is_not_accepted_says_how_to_make_one_that_is(
    site: Any, until: Any, tmp_path: Path, way: Way, name: str, advice: str
) -> None:
    tls = make(tmp_path, way, name)
    async with mosquitto(tmp_path, *served(tmp_path)) as port, site.up(port, **tls) as uplink:
        await until(lambda: uplink.status()["error"])
        assert "certificate is not accepted" in uplink.status()["error"] and advice in uplink.status()["error"]
        said = await collected(tmp_path, port)
        assert "certificate is not accepted" in said and advice in said  # the region's side says the same


async def collected(folder: Path, port: int) -> str:
    """What `bocage collect` says of this broker, with its authority."""
    words = f"mqtts://localhost:{port} --ca ca.pem --sqlite region.db --seconds 0.1".split()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", "collect", *words, cwd=folder, stderr=asyncio.subprocess.PIPE
    )
    return (await process.communicate())[1].decode()


async def test_another_authority_of_the_same_name_is_not_trusted(site: Any, until: Any, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = make(tmp_path / "other", WAYS["no extension at all"])
    make(tmp_path, WAYS["no extension at all"])
    async with mosquitto(tmp_path, *served(tmp_path)) as port, site.up(port, **other) as uplink:
        await until(lambda: uplink.status()["error"])
        assert "certificate is not accepted" in (said := uplink.status()["error"]) and "`ca` must hold" in said
