"""Public test vectors of JavaScript codecs, through the agent's own codec process.

    python tests/lora/run_vectors.py CHECKOUT [--quiet]

CHECKOUT is a copy of github.com/chirpstack/chirpstack-device-profiles (`vendors/*/codecs/test_{decode,encode}_*.json`)
or of github.com/actility/device-catalog (`vendors/*/drivers/**/examples.json`, uplinks and encoded downlinks).
Prints passed and failed per codec, and totals; exit 1 if one fails whose difference is not explained in `EXPLAINED`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.lora.codecs import CodecError
from drivers.lora.codecs.javascript import run

EXPLAINED = {
    ("digital-matter-g62", "decode"): "its codec completes a short time by the present one (new Date()), "
                                      "so the expected time was right near the day of the vector only",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vector:
    """One input of a codec and what it gives; `call` is decode or encode."""

    codec: Path
    call: str
    name: str
    given: Mapping[str, Any]
    expected: Any


def vectors(checkout: Path) -> Iterator[Vector]:
    """All vectors of a checkout. They are JavaScript literals, not JSON: hexadecimal numbers, bare keys, commas."""
    import quickjs

    for call in ("decode", "encode"):
        for file in sorted(checkout.glob(f"vendors/*/codecs/test_{call}_*.json")):
            text = quickjs.Context().eval(f"JSON.stringify({file.read_text(encoding='utf-8-sig')}\n)")
            for item in json.loads(text):
                yield Vector(_codec_of(file, call), call, item.get("name", ""), item["input"], item["expected"])


def _codec_of(file: Path, call: str) -> Path:
    """Of the same name, or with the constants of the sensor behind it (dl-pr36-8192.js)."""
    stem = file.stem.removeprefix(f"test_{call}_")
    exact = file.with_name(f"{stem}.js")
    return exact if exact.is_file() else next(iter(sorted(file.parent.glob(f"{stem}-*.js"))), exact)


def examples(checkout: Path) -> Iterator[Vector]:
    """Those of Actility's catalogue. A driver that is built lies at the place that its package.json names."""
    calls = {"uplink": "decode", "downlink-encode": "encode"}
    for file in sorted(checkout.glob("vendors/**/examples.json")):
        package = file.with_name("package.json")
        main = json.loads(package.read_text(encoding="utf-8")).get("main") if package.is_file() else None
        codec = file.with_name(main or "index.js")
        codec = codec if codec.is_file() else file.with_name("index.js")
        for item in json.loads(file.read_text(encoding="utf-8-sig")):
            if item["type"] in calls:
                yield Vector(codec, calls[item["type"]], item.get("description", ""), item["input"], item["output"])


async def why_not(vector: Vector) -> str | None:
    """None where the codec gives what is expected, else what it gives."""
    given = vector.given
    if vector.call == "decode":
        time = _time(given.get("recvTime") or given.get("time"))
        asked = {"bytes": _bytes(given["bytes"]), "fport": given.get("fPort", given.get("fport")), "time": time}
    else:
        asked = {"data": given.get("data"), "fport": given.get("fPort")}
    try:
        standard, found = await run(str(vector.codec), vector.call, **asked)
    except CodecError as error:
        return str(error)
    expected = vector.expected
    if vector.call == "encode" and isinstance(expected, dict) and isinstance(expected.get("bytes"), str):
        expected = {**expected, "bytes": _bytes(expected["bytes"])}
    if not standard and isinstance(expected, dict) and "data" in expected:  # what an older form gives is the data
        found = {"data": found}
    return None if same(found, expected) else f"{json.dumps(found)} instead of {json.dumps(expected)}"


def _bytes(given: Any) -> Any:
    """A list of bytes; Actility's catalogue writes them in hexadecimal."""
    return list(bytes.fromhex(given)) if isinstance(given, str) else given


def _time(text: str | None) -> int | None:
    """Some are no times at all ("00.00005:00"): then there is none."""
    import datetime

    try:
        return None if text is None else round(datetime.datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return None


def same(found: Any, expected: Any) -> bool:
    """Equal as JSON, numbers within the noise of floating point; an empty list of errors or warnings is none."""
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = [{key for key in one if key not in ("errors", "warnings") or one[key]} for one in (found, expected)]
        return keys[0] == keys[1] and all(same(found[key], expected[key]) for key in keys[0])
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, float | int) and isinstance(found, float | int):
        return type(found) is bool is type(expected) or math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-12)
    return bool(found == expected) or (
        isinstance(expected, str) and isinstance(found, str) and _same_text(found, expected)
    )


def _same_text(found: str, expected: str) -> bool:
    """Actility's catalogue writes XX for what depends on the day, and times to the nanosecond; a Date is in ms."""
    if "XX" in expected:
        return len(found) == len(expected)
    times = _time(found), _time(expected)
    return None not in times and times[0] == times[1]


async def main(checkout: Path, quiet: bool) -> int:
    counts: dict[tuple[str, str], list[int]] = {}
    totals, unexplained = {"decode": [0, 0], "encode": [0, 0]}, 0
    for vector in (*vectors(checkout), *examples(checkout)):
        parts = vector.codec.relative_to(checkout / "vendors").with_suffix("").parts
        codec = "/".join(part for part in parts if part not in ("codecs", "drivers", "index"))
        why = await why_not(vector)
        for count in (counts.setdefault((codec, vector.call), [0, 0]), totals[vector.call]):
            count[why is not None] += 1
        if why is not None:
            reason = EXPLAINED.get((vector.codec.stem, vector.call))
            unexplained += reason is None
            print(f"{codec} {vector.call}: {vector.name}: {why}" + (f"\n  explained: {reason}" if reason else ""))
    if not quiet:
        for (codec, call), (passed, failed) in sorted(counts.items()):
            print(f"{codec:60} {call}  passed {passed:3}  failed {failed:3}")
    for call, (passed, failed) in totals.items():
        print(f"{call}: passed {passed}, failed {failed}")
    passed, failed = (sum(column) for column in zip(*totals.values(), strict=True))
    print(f"total: passed {passed}, failed {failed}, of {passed + failed}; failed without an explanation {unexplained}")
    return 1 if unexplained or passed == 0 else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", metavar="CHECKOUT", type=Path, help="a copy of chirpstack-device-profiles")
    parser.add_argument("--quiet", action="store_true", help="only what differs, and the totals")
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.checkout, options.quiet)))
