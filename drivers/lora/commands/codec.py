"""`bocage codec`: try the codec of a radio node on a payload, or on what is to be sent to it."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from agent.cli.common import add_command, add_json
from agent.errors import BocageError, ConfigError
from agent.lib.screen import shown, shown_json

__all__ = ["add"]


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "codec",
        "run the codec of a LoRa device on a payload, or encode a downlink, without device and agent",
        "  bocage codec run profiles/codecs/em300-th.js --fport 85 --hex 01755c03673401046865\n"
        "  bocage codec run milesight_em300_th --hex '03 67 34 01'      a profile, by its name or file\n"
        "  bocage codec encode profiles/codecs/valve.js --fport 85 --object '{\"valve\": {\"position\": 40}}'\n"
        "  bocage codec encode milesight_wt101 --object '{\"setpoint\": 19}'",
    )
    parser.add_argument("action", choices=("run", "encode"), help="run: bytes to values; encode: values to bytes")
    parser.add_argument("codec", metavar="CODEC", help="a JavaScript file, or a profile: its name or its file")
    parser.add_argument("--fport", metavar="1..223", type=_fport, help="the LoRaWAN port (default: the profile's)")
    parser.add_argument("--hex", metavar="03…", dest="payload", type=_payload, help="run: the payload in hexadecimal")
    parser.add_argument("--object", metavar="{…}", type=_object, help="encode: the values, a JSON object")
    parser.add_argument(
        "--variable", metavar="NAME=VALUE", dest="variables", action="append", default=[], type=_variable,
        help="a value of input.variables for a JavaScript codec; may be repeated",
    )  # fmt: skip
    add_json(parser)
    parser.set_defaults(run=try_codec, parser=parser)


def try_codec(options: argparse.Namespace) -> int:
    wanted, other = ("payload", "object") if options.action == "run" else ("object", "payload")
    names = {"payload": "--hex", "object": "--object"}
    if getattr(options, wanted) is None:
        options.parser.error(f"{options.action} needs {names[wanted]}")
    if getattr(options, other) is not None:
        options.parser.error(f"{names[other]} is not for {options.action}")
    lora = _lora(options.codec)
    if lora.get("codec") and not Path(lora["codec"]).is_file():
        source = f" (published at {lora['source']})" if lora.get("source") else ""
        raise BocageError(f"there is no file {lora['codec']}{source}")
    act = _run if options.action == "run" else _encode
    return asyncio.run(act(lora, options))


async def _run(lora: Mapping[str, Any], options: argparse.Namespace) -> int:
    port = options.fport or lora.get("fport") or 1
    now = time.time_ns() // 1_000_000
    found: Any
    standard = True
    try:
        if lora.get("codec"):
            from drivers.lora.codecs import javascript as script

            asked = {"bytes": list(options.payload), "fport": port, "time": now, "variables": dict(options.variables)}
            standard, found = await script.run(lora["codec"], "decode", **asked)
        else:
            from drivers.lora.codecs import codec_of

            decoded = await codec_of({"lora": lora}).decode(options.payload, port, now)
            found = {"data": decoded.data, "warnings": list(decoded.warnings)}
    except BocageError as error:
        if options.json:
            print(shown_json({"errors": [str(error)]}))
        raise
    text = shown_json(found, indent=None if options.json else 2)
    print(text)
    if not isinstance(found, dict):
        print(shown(f"bocage: {options.codec}: it returned no object"), file=sys.stderr)
        return 1
    if standard and not found.get("errors") and not isinstance(found.get("data"), dict):
        print(shown(f"bocage: {options.codec}: it returned no data"), file=sys.stderr)
        return 1
    return 1 if found.get("errors") else 0


async def _encode(lora: Mapping[str, Any], options: argparse.Namespace) -> int:
    from drivers.lora.codecs import codec_of

    codec = codec_of({"lora": lora}, dict(options.variables))
    port, payload = await codec.encode(options.object, options.fport)
    print(json.dumps({"fPort": port, "hex": payload.hex()}) if options.json else payload.hex())
    return 0


def _lora(name: str) -> Mapping[str, Any]:
    """The `lora` section of a profile, or one for a bare codec."""
    path = Path(name)
    if path.suffix == ".js" or (path.is_file() and path.suffix not in (".yaml", ".yml", ".csv")):
        return {"codec": str(path)}
    from agent.lib.suggestion import did_you_mean
    from agent.site.profiles.kinds import kind_of
    from agent.site.profiles.model import Library

    a_file = path.suffix in (".yaml", ".yml", ".csv") or path.name != name
    library = Library(path.parent, ".") if a_file else Library(Path.cwd())
    if a_file and not path.is_file():
        raise BocageError(f"there is no file {name}")
    try:
        profile = library.get(path.stem if a_file else name)
    except KeyError:
        near = did_you_mean(name, library.names()) or "write CODEC.js, a profile's name, or its file"
        raise BocageError(f'unknown codec or profile "{name}"; {near}') from None
    if profile is None:
        raise ConfigError([str(problem) for problem in library.problems])
    if "lora" not in profile:
        kind = kind_of(profile)
        raise BocageError(f"{name} is a profile{f' for {kind.family}' if kind is not None else ''}; it has no codec")
    lora: Mapping[str, Any] = profile["lora"]
    return lora


def _fport(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 223:
        raise argparse.ArgumentTypeError(f"{text} is no LoRaWAN application port; write 1 to 223")
    return int(text)


def _payload(text: str) -> bytes:
    digits = re.sub(r"^0x|[\s:]", "", text)
    wrong = re.search(r"[^0-9a-fA-F]", digits)
    if wrong:
        raise argparse.ArgumentTypeError(f'"{wrong[0]}" in {text} is no hexadecimal digit (0 to 9, a to f)')
    if len(digits) % 2:
        raise argparse.ArgumentTypeError(f"{text} has {len(digits)} digits; a byte has two, so one is missing")
    return bytes.fromhex(digits)


def _variable(text: str) -> tuple[str, str | int | float]:
    """NAME=VALUE; a number where the value reads as one, in quotes a text: NAME='"12"'."""
    name, equals, written = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text} is no variable; write offset=2")
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        value = written
    if isinstance(value, bool) or not (isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))):
        value = written
    return name, value


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text[:60]} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f'{text} is no JSON object; write \'{{"setpoint": 19}}\'')
    return found
