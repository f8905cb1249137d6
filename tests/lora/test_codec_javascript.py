"""JavaScript codecs: what makers write, and that a bad one costs its own payload only. The child process is real."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivers.lora.codecs import Codec, CodecError, Decoded, codec_of, javascript, look
from tests.fakes.waiting import wait_for

Make = Callable[..., Codec]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A codec of a source, with keys of `lora` beside it."""

    def run(source: str | bytes, name: str = "codec.js", **lora: Any) -> Codec:
        path = tmp_path / name
        path.write_bytes(source.encode() if isinstance(source, str) else source)
        return codec_of({"lora": {"codec": str(path), **lora}})

    return run


def uplink(body: str) -> str:
    return f"function decodeUplink(input) {{ {body} }}"


GOOD = uplink("return {data: {first: input.bytes[0]}}")


async def why(codec: Codec, payload: bytes = b"\x07") -> str:
    with pytest.raises(CodecError) as caught:
        await codec.decode(payload, 5, None)
    return str(caught.value)


async def test_the_form_of_the_lora_alliance(make: Make) -> None:
    codec = make(uplink("""return {
        data: {bytes: input.bytes, list: Array.isArray(input.bytes), port: input.fPort, at: input.recvTime,
               v: input.variables},
        warnings: ["low"], errors: []}"""))  # fmt: skip
    assert await codec.decode(b"\x01\xff", 85, 1_700_000_000_123) == Decoded(
        {"bytes": [1, 255], "list": True, "port": 85, "at": "2023-11-14T22:13:20.123Z", "v": {}}, ("low",)
    )


async def test_a_time_that_nobody_knows_is_none(make: Make) -> None:
    codec = make(uplink("return {data: {at: input.recvTime, ms: input.recvTime.getTime()}}"))
    assert (await codec.decode(b"", 85, None)).data == {"at": None, "ms": None}


@pytest.mark.parametrize(
    "source",
    [
        "function Decode(fPort, bytes, variables) { return {sum: fPort + bytes[0], v: variables} }",
        "function Decoder(bytes, port) { return {sum: port + bytes[0], v: {}} }",
        "const decodeUplink = (input) => ({data: {sum: input.fPort + input.bytes[0], v: input.variables}})",
    ],
)
async def test_older_forms(make: Make, source: str) -> None:
    assert (await make(source).decode(b"\x05", 10, None)).data == {"sum": 15, "v": {}}


DECODE = "function decodeUplink(i) { return {data: {sum: i.fPort + i.bytes[0]}} }"
ENCODE = "function encodeDownlink(i) { return {bytes: [i.data.x], fPort: 7} }"
BOTH = DECODE + ENCODE
STYLES = {
    "CommonJS": f"{BOTH} exports.decodeUplink = decodeUplink; exports.encodeDownlink = encodeDownlink",
    "CommonJS, in a scope": f"(() => {{ {BOTH} module.exports = {{decodeUplink, encodeDownlink}} }})()",
    "CommonJS, if any": f"{BOTH} if (typeof module !== 'undefined') module.exports = {{decodeUplink, encodeDownlink}}",
    "started by hand": f"{BOTH} if (require.main === module) process.exit(1)",
    "bundle": f"var driver; (() => {{ var e = {{1: (m, x) => {{ {BOTH} x.decodeUplink = decodeUplink;"
              "x.encodeDownlink = encodeDownlink }}, x = {}; e[1](null, x); driver = x })()",
    "UMD": "!function (root, make) { typeof exports === 'object' ? make(exports) : make(root.codec = {}) }"
           f"(self, (x) => {{ {BOTH} x.decodeUplink = decodeUplink; x.encodeDownlink = encodeDownlink }})",
    "bundle, exported": f"exports.driver = (() => {{ {BOTH} return {{decodeUplink, encodeDownlink}} }})()",
    "bundle, ChirpStack v3": "const driver = {Decode: (port, bytes) => ({sum: port + bytes[0]}),"
                             "Encode(port, object) { return [object.x] }}",
    "one object": f"const Codec = (() => {{ {BOTH} return {{decodeUplink, encodeDownlink}} }})()",
    "a class": f"class Codec {{ static {DECODE[9:]} static {ENCODE[9:]} }}",
    "it needs itself": "module.exports = {port: 7, decodeUplink(i) { return {data: {sum: i.fPort + i.bytes[0]}} },"
                       "encodeDownlink(i) { return {bytes: [i.data.x], fPort: this.port} }}",
    "module": f"export {DECODE}\nexport {ENCODE}",
    "module, indented": f"  import {{ Buffer }} from 'buffer';\n\texport {DECODE}\n  export {ENCODE}",
    "module, a list": f"{BOTH}\nexport {{\n  decodeUplink,\n  encodeDownlink as other,\n}};",
    "module, other names": f"{BOTH.replace('decodeUplink', 'up')}\nexport {{ up as decodeUplink }}",
    "module, made small": f"import{{Buffer as B}}from'buffer';{BOTH.replace('decodeUplink', '$')}"
                          "export{$ as decodeUplink};",
    "module, default": f"{BOTH}\nexport default {{ decodeUplink, encodeDownlink }}",
    "module, constants": "import { Buffer } from 'buffer'\n"
                         "export const decodeUplink = (i) => "
                         "({data: {sum: i.fPort + Buffer.from(i.bytes).readUInt8(0)}})\n"
                         f"export {ENCODE}",
    "its own exports": f"let exports = {{}}; const module = {{}}; {BOTH} exports.decodeUplink = 5",
    "bytes of Buffer": f"const {{ Buffer: B }} = require('buffer'); {DECODE}"
                       "exports.encodeDownlink = (i) => ({bytes: B.from([i.data.x]), fPort: 7})",
    "the data as it is": f"function decodeUplink(i) {{ return {{sum: i.fPort + i.bytes[0]}} }} {ENCODE}",
}  # fmt: skip


async def test_variables_of_the_device(make: Make) -> None:
    encode = "function Encode(port, object, v) { return [v.offset, v.id.length] }"
    file = make(uplink("return {data: input.variables}") + encode)._file  # type: ignore[attr-defined]
    codec = codec_of({"lora": {"codec": file}}, {"offset": 2, "id": "07"})
    assert (await codec.decode(b"", 5, None)).data == {"offset": 2, "id": "07"}
    assert await codec.encode({}, 5) == (5, b"\x02\x02")


@pytest.mark.parametrize("style", STYLES)
async def test_what_makers_export(make: Make, style: str) -> None:
    codec = make(STYLES[style], fport=7)
    assert await codec.decode(b"\x05", 7, None) == Decoded({"sum": 12})
    assert await codec.encode({"x": 9}, None) == (7, b"\x09")
    assert list(look.faults([codec._file])) == []  # type: ignore[attr-defined]


async def test_what_is_not_there_is_said_with_its_line(make: Make) -> None:
    for name, words in (("crypto", "of Node's own modules"), ("node:fs", "of Node's own"), ("./table", "bundle it")):
        said = await why(make(f"\n\nlet a = require('{name}')"))
        assert f'require("{name}"): ' in said and words in said and said.endswith("(line 3)")
    late = make("\nfunction decodeUplink(i) {\n return {data: {a: Buffer.from(i.bytes).readUInt16LE(0)}}\n}")
    assert (await why(late)).endswith("RangeError: bytes 0 to 1 of 1 (line 3)")


TEXT = {
    "new TextDecoder().decode(new Uint8Array([0x68, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x9a, 0xb0]))": "hé€🚰",
    "new TextDecoder('utf8').decode(Uint8Array.of(0xef, 0xbb, 0xbf, 97, 0xff, 0xe2, 0x82, 98))": "a\ufffd\ufffd\ufffdb",
    "new TextDecoder('ascii').decode(new Uint8Array([0x61, 0x62]).buffer)": "ab",
    "new (require('util').TextDecoder)('utf-16le').decode(new Uint8Array([0x61, 0, 0xac, 0x20]))": "a€",
    "new TextDecoder().decode()": "",
    "(() => { try { new TextDecoder('utf8', {fatal: 1}).decode([255]) } catch (e) { return e.name } })()":
        "TypeError",
    "Array.from(new TextEncoder().encode('hé€🚰'))": [0x68, 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x9A, 0xB0],
    "atob('aGVsbG8=') + btoa('hello')": "helloaGVsbG8=",
}  # fmt: skip


@pytest.mark.parametrize("expression", TEXT)
async def test_texts(make: Make, expression: str) -> None:
    codec = make(uplink(f"return {{data: {{value: {expression}}}}}"))
    assert (await codec.decode(b"", 5, None)).data == {"value": TEXT[expression]}


async def test_a_large_codec(make: Make) -> None:
    entries = ",".join(f'k{at}: {{name: "register {at}", scale: {at / 10}, unit: "kWh"}}' for at in range(6000))
    source = f"var table = {{{entries}}};" + uplink("return {data: {name: table.k5999.name}}")
    assert len(source) > 300_000
    assert (await make(source).decode(b"", 5, None)).data == {"name": "register 5999"}


async def test_time_in_which_it_does_not_compute_costs_no_payload(make: Make, tmp_path: Path) -> None:
    """Its file comes slowly: for longer than it may compute, the child waits."""
    slow = tmp_path / "slow.js"
    os.mkfifo(slow)
    running = asyncio.ensure_future(codec_of({"lora": {"codec": str(slow)}}).decode(b"\x01", 5, None))
    while True:
        try:
            end = os.open(slow, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError:  # it is not read yet
            await asyncio.sleep(0.01)
    with os.fdopen(end, "w") as file:
        await asyncio.sleep(3)
        file.write(GOOD)
    assert (await running).data == {"first": 1}


@pytest.mark.parametrize(
    ("source", "port", "payload"),
    [
        ("function encodeDownlink(i) { return {bytes: [i.data.x, 2], fPort: 7} }", 7, "0902"),
        ("function encodeDownlink(i) { return {bytes: new Uint8Array([i.data.x]), errors: []} }", 85, "09"),
        ("function Encode(fPort, object, variables) { return [fPort, object.x] }", 85, "5509"),
        ("function Encoder(object, port) { return [port, object.x] }", 85, "5509"),
    ],
)
async def test_downlinks(make: Make, source: str, port: int, payload: str) -> None:
    assert await make(source).encode({"x": 9}, 85) == (port, bytes.fromhex(payload))


async def test_a_downlink_without_a_port_takes_the_profiles(make: Make) -> None:
    codec = make("function encodeDownlink(i) { return {bytes: [1]} }", fport=12)
    assert await codec.encode({}, None) == (12, b"\x01")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return {bytes: [256]}", "returned no bytes, but [256]"),
        ("return {bytes: []}", "returned no bytes, but []"),
        ("return {bytes: 'ff'}", 'returned no bytes, but "ff"'),
        ("return {}", "returned no bytes"),
        ("return {bytes: [1], errors: ['too hot']}", "too hot"),
        ("return {bytes: [1], fPort: 0}", "gives no fPort of 1 to 223"),
        ("return", "returned no object"),
    ],
)
async def test_downlinks_that_cannot_be(make: Make, body: str, reason: str) -> None:
    with pytest.raises(CodecError, match=r"codec\.js: ") as caught:
        await make(f"function encodeDownlink(i) {{ {body} }}").encode({"x": 1}, 85)
    assert reason in str(caught.value)


async def test_a_profiles_own_downlinks_come_first(make: Make) -> None:
    codec = make(GOOD, downlink=({"field": "setpoint", "fport": 3, "prefix": "0e", "as": "u8"},))
    assert await codec.encode({"setpoint": 21}, None) == (3, b"\x0e\x15")


async def test_a_codec_without_an_encoder_says_so(make: Make) -> None:
    with pytest.raises(CodecError, match="no function encodeDownlink, Encode or Encoder"):
        await make(GOOD).encode({"x": 1}, 85)


async def test_only_payloads_of_its_port(make: Make) -> None:
    found = await make(GOOD, fport=85).decode(b"\x01", 10, None)
    assert (found.data, found.warnings) == ({}, ("not read: it came on port 10, and the profile reads 85",))


DEEP = "let a = {{}}; for (let i = 0; i < {}; i++) a = {{a}}; return {{data: a}}"
BAD = {
    "throws": (uplink("throw new Error('boom')"), "codec.js: Error: boom (line 1)"),
    "throws text": (uplink("throw 'boom'"), "codec.js: boom"),
    "throws nothing": (uplink("throw null"), "null was thrown"),
    "its own errors": (uplink("return {errors: ['bad length', {code: 3}]}"), 'codec.js: bad length; {"code": 3}'),
    "errors are a text": (uplink("return {data: {a: 1}, errors: 'bad'}"), "codec.js: bad"),
    "line of a mistake": (uplink("\n\n return input.a.b"), "cannot read property 'b' of undefined (line 3)"),
    "syntax": ("function decodeUplink(input) {\n return {data: }\n}", "SyntaxError"),
    "returns nothing": (uplink(""), "returned no object"),
    "returns a number": (uplink("return 5"), "returned no object, but 5"),
    "returns a list": (uplink("return {data: [1]}"), "returned no data, but [1]"),
    "returns a promise": ("async " + uplink("return {data: {}}"), "codec.js: it returned a promise"),
    "throws an object": (uplink("throw {code: 5, message: 'too short'}"), "codec.js: too short"),
    "throws a plain object": (uplink("throw {code: 5}"), 'codec.js: {"code":5}'),
    "Buffer does not know": (uplink("\nreturn Buffer.from('a', 'utf-32')"), "Unknown encoding: utf-32 (line 2)"),
    "Buffer has no room": (uplink("\nreturn Buffer.alloc(1).writeUInt8(300)"), "300 is not between 0 and 255 (line 2)"),
    "Buffer of nothing": (uplink("\nreturn Buffer.from(undefined)"), "not undefined (line 2)"),
    "imports for its effect": ("\nimport './table'\n" + GOOD, "bundle it (esbuild, webpack) (line 2)"),
    "exports another's": ("\nexport * from './table'\n" + GOOD, "bundle it (esbuild, webpack) (line 2)"),
    "imports a table": ("import t from './t.json' with {type: 'json'};\n" + GOOD, "webpack) (line 1)"),
    "returns itself": (uplink("const a = {}; a.a = a; return {data: a}"), "circular reference"),
    "returns an abyss": (uplink(DEEP.format(30_000)), "Maximum call stack size exceeded"),
    "returns a big integer": (uplink("return {data: {a: 1n}}"), "BigInt"),
    "has no function": ("var x = 1", "no function decodeUplink, Decode or Decoder"),
    "recurses": ("function f() { f() }" + uplink("f()"), "Maximum call stack size exceeded"),
    "eats memory": (uplink("const a = []; for (;;) a.push('x'.repeat(1000) + a.length)"), "out of memory"),
    "eats it at once": (uplink("return {data: {a: 'x'.repeat(3000000)}}"), "out of memory"),
    "loops": (uplink("for (;;);"), "stopped after 500 ms"),
    "loops as it is loaded": ("for (;;);", "stopped after 500 ms"),
    "loops in native code": (uplink("return new Array(4294967295).join('')"), "stopped after 500 ms"),
    "loops in a pattern": (uplink("return /^(a+)+$/.test('a'.repeat(40) + 'b')"), "stopped after 500 ms"),
    "breaks our call": ("__json = () => ({})\n" + GOOD, "the codec process ended with 1"),
    "answers for us": ("__json = () => '{'\n" + GOOD, "returned what cannot be read"),
    "is not UTF-8": (b"var a = 1\nvar b = '\xe9'", "the file is not UTF-8 (line 2)"),
    "holds a zero byte": (b"var a = '\0'", "null"),
    "is huge": (b" " * 1_100_000, "larger than 1 MiB"),
}  # fmt: skip
if sys.version_info < (3, 13):  # which reads that
    BAD["returns a depth"] = (uplink(DEEP.format(3_000)), "too deep")


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_codec_costs_its_own_payload_only(make: Make, bad: str) -> None:
    source, reason = BAD[bad]
    good = make(GOOD, name="good.js")
    assert (await good.decode(b"\x01", 5, None)).data == {"first": 1}
    said = await why(make(source))
    assert reason in said and "\n" not in said
    assert (await good.decode(b"\x02", 5, None)).data == {"first": 2}


async def test_those_that_wait_behind_a_bad_one_are_served(make: Make) -> None:
    good, bad = make(GOOD, name="good.js"), make(uplink("for (;;);"))
    waiting = [codec.decode(bytes([at]), 5, None) for at, codec in enumerate([good, bad, good, good])]
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[1], CodecError)
    assert [item.data["first"] for item in found if isinstance(item, Decoded)] == [0, 2, 3]


async def test_a_missing_file(tmp_path: Path) -> None:
    codec = codec_of({"lora": {"codec": str(tmp_path / "no.js")}})
    assert await why(codec) == "no.js: the file cannot be read: No such file or directory"


async def test_a_codec_may_print(make: Make) -> None:
    said = "console.log('a'); console.error('b'); console.table([1]); console.dir({}); print('c');"
    codec = make(uplink(f"{said} return {{data: {{a: 1}}}}"))
    assert (await codec.decode(b"", 5, None)).data == {"a": 1}


async def test_each_payload_has_a_context_of_its_own(make: Make) -> None:
    codec = make("var seen = (globalThis.seen || 0) + 1; Object.prototype.left = 1;" + uplink("return {data: {seen}}"))
    for _ in range(3):
        assert (await codec.decode(b"", 5, None)).data == {"seen": 1}


async def test_a_better_file_counts_at_once(make: Make) -> None:
    codec = make(uplink("return {data: {version: 1}}"))
    assert (await codec.decode(b"", 5, None)).data == {"version": 1}
    make(uplink("return {data: {version: 2}}"))
    assert (await codec.decode(b"", 5, None)).data == {"version": 2}


async def test_values_that_json_does_not_have(make: Make) -> None:
    codec = make(uplink(r"return {data: {n: NaN, i: Infinity, u: undefined, s: '\ud800', b: new Uint8Array([1])}}"))
    assert (await codec.decode(b"", 5, None)).data == {"n": None, "i": None, "s": "\ufffd", "b": [1]}


async def test_a_codec_that_is_called_off_does_not_answer_the_next(make: Make) -> None:
    good = make(GOOD, name="good.js")
    await good.decode(b"\x01", 5, None)
    slow = asyncio.ensure_future(make(uplink("for (let i = 0; i < 1e6; i++); return {data: {}}")).decode(b"", 5, None))
    await asyncio.sleep(0)  # it is asked now
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert (await good.decode(b"\x09", 5, None)).data == {"first": 9}


async def test_a_process_that_was_killed_is_started_again(make: Make) -> None:
    codec = make(GOOD)
    await codec.decode(b"\x01", 5, None)
    child = javascript._shared
    assert child is not None and child._process is not None
    before = child._process.pid
    os.kill(before, signal.SIGKILL)
    assert "the codec process ended with -9" in await why(codec)
    assert (await codec.decode(b"\x03", 5, None)).data == {"first": 3}
    assert child._process.pid != before


async def test_all_codecs_share_one_process(make: Make) -> None:
    await make(GOOD).decode(b"\x01", 5, None)
    child = javascript._shared
    assert child is not None and child._process is not None
    before = child._process.pid
    await make(GOOD, name="other.js").decode(b"\x01", 5, None)
    assert child._process.pid == before


async def test_without_quickjs_the_reason_says_what_to_install(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "ENGINE", "an_engine_that_nobody_has")
    assert "pip install 'bocage[js]'" in await why(make(GOOD))
    struct = codec_of({"lora": {"struct": [{"field": "a", "type": "u8"}]}})
    assert (await struct.decode(b"\x07", 5, None)).data == {"a": 7}


BUFFER = {
    "Buffer.from(input.bytes).toString('hex')": "0102fffe80",
    "Buffer.from('0aFF', 'hex')[1]": 255,
    "Buffer.from('aGVsbG8=', 'base64').toString()": "hello",
    "Buffer.from('héé').toString('base64')": "aMOpw6k=",
    "Buffer.from([1, 2, 3, 4]).toString('base64')": "AQIDBA==",
    "Buffer.from('héé').length": 5,
    "Buffer.from('héé').toString()": "héé",
    "Buffer.from(input.bytes).readUInt16LE(1)": 65282,
    "Buffer.from(input.bytes).readUint16BE(1)": 767,
    "Buffer.from(input.bytes).readInt16BE(2)": -2,
    "Buffer.from(input.bytes).readInt8(4)": -128,
    "Buffer.from(input.bytes).readUIntBE(0, 3)": 66303,
    "Buffer.from(input.bytes).readIntLE(2, 3)": -8323329,
    "Buffer.from(input.bytes).slice(1, 3).readUInt8(1)": 255,
    "Buffer.concat([Buffer.from([1]), Buffer.alloc(2, 7)]).toString('hex')": "010707",
    "(() => { const b = Buffer.alloc(4); b.writeFloatLE(1.5, 0); return b.readFloatLE(0) })()": 1.5,
    "(() => { const b = Buffer.alloc(4); b.writeInt16BE(-2, 1); return b.toString('hex') })()": "00fffe00",
    "(() => { const b = Buffer.alloc(4); b.writeUIntLE(0x010203, 0, 3); return b.toString('hex') })()": "03020100",
    "Number(Buffer.from([1, 0, 0, 0, 0, 0, 0, 1]).readBigUInt64LE(0) & 255n)": 1,
    "Buffer.from('0AFF', 'HEX').length": 2,
    "Buffer.from('0aff0', 'hex').length + Buffer.from('0x0a', 'hex').length": 2,
    "new Buffer('0aff', 'hex').toString('hex')": "0aff",
    "Buffer.from('Aé', 'utf16le').toString('hex') + Buffer.from([65, 0, 233, 0]).toString('utf-16le')": "4100e900Aé",
    "Buffer.from([251, 255]).toString('base64url')": "-_8",
    "Buffer.from([104, 255]).toString()": "h\ufffd",
    "Buffer.from(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2).toString('hex')": "0203",
    "Buffer.from(JSON.parse(JSON.stringify(Buffer.from([1, 2])))).toString('hex')": "0102",
    "Buffer.concat([Buffer.from([1]), Buffer.from([2, 3])], 2).toString('hex')": "0102",
    "Buffer.alloc(3, 'ab').toString() + Buffer.alloc(2).fill('0a', 'hex').toString('hex')": "aba0a0a",
    "(() => { const b = Buffer.alloc(4); b.write('0aff', 1, 'hex'); b.write('z', 3, 1); return b.toString('hex') })()":
        "000aff7a",
    "Buffer.from('hello').indexOf('lo') + Buffer.from('hello').indexOf(Buffer.from('l'), -2)": 6,
    "Buffer.from('hello').includes('ell') && !Buffer.from('hello').includes('x')": True,
    "[Buffer.compare(Buffer.from([1]), Buffer.from([1, 2])), Buffer.from([2]).compare(Buffer.from([1, 2]))]": [-1, 1],
    "Buffer.from(input.bytes).slice(0, 4).swap16().toString('hex')": "0201feff",
    "Buffer.isBuffer(Buffer.from([1])) && !Buffer.isBuffer([1])": True,
    "(() => { try { return Buffer.from([1]).readUInt16LE(0) } catch (error) { return error.name } })()": "RangeError",
}


@pytest.mark.parametrize("expression", BUFFER)
async def test_buffer(make: Make, expression: str) -> None:
    codec = make(uplink(f"return {{data: {{value: {expression}}}}}"))
    assert (await codec.decode(bytes.fromhex("0102fffe80"), 5, None)).data == {"value": BUFFER[expression]}


async def test_a_codec_may_have_a_buffer_of_its_own(make: Make) -> None:
    codec = make("function Buffer(size) { this.size = size }" + uplink("return {data: {size: new Buffer(3).size}}"))
    assert (await codec.decode(b"", 5, None)).data == {"size": 3}


AGENT = """\
import asyncio, sys
from drivers.lora.codecs import codec_of, javascript

async def main():
    good, bad = (codec_of({"lora": {"codec": file}}) for file in sys.argv[1:])
    await good.decode(b"", 5, None)
    print(javascript._shared._process.pid, flush=True)
    await bad.decode(b"", 5, None)

asyncio.run(main())
"""


def test_a_codec_that_loops_does_not_outlive_its_agent(tmp_path: Path) -> None:
    files = []
    for name, body in (("good.js", "return {data: {}}"), ("bad.js", "return new Array(4294967295).join('')")):
        (tmp_path / name).write_text(uplink(body))
        files.append(str(tmp_path / name))
    with subprocess.Popen([sys.executable, "-c", AGENT, *files], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        child = Path(f"/proc/{int(agent.stdout.readline())}")
        wait_for(lambda: " R " in stat(child), what="the codec runs")
        agent.kill()
    wait_for(lambda: stat(child) == "" or " Z " in stat(child), what="the codec's process has ended")


def stat(process: Path) -> str:
    try:
        return (process / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
