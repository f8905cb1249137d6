"""The child process that runs JavaScript codecs, one request after the other. It imports nothing of ours.

A request is a line of JSON on its standard input, a socket; the answer is one too. First it says whether it can
start. Each request gets a fresh context of HEAP bytes and TIME seconds of wall time. The kernel's timer ends the whole
process when they are over, in the middle of whatever native code runs, and also when the agent itself is gone.

A codec that breaks out of the engine finds little: no environment, and LIMITS that the kernel keeps.
"""

import json
import re
import resource
import signal
import socket
from pathlib import Path
from typing import Any

HEAP = 2 << 20
"""Bytes; of 342 public vectors 340 pass with 768 KiB."""
TIME = 0.5
"""Seconds of wall time."""
LOOK = 5.0
"""The same for a codec that is only loaded, to see whether it can be: a busy machine makes no good one wrong."""
SOURCE = 1 << 20
"""The most bytes of a codec's file."""

LIMITS = {
    resource.RLIMIT_AS: 192 << 20,  # bytes; the interpreter and the engine take some 30 MiB of it
    resource.RLIMIT_NOFILE: 16,
    resource.RLIMIT_FSIZE: 0,  # it writes no files
    resource.RLIMIT_NPROC: 0,  # and starts neither processes nor threads (root is exempt from that)
    resource.RLIMIT_CORE: 0,
}
"""What the process may have at the most, from its start on."""
CPU = 2
"""Seconds of processor time a request, should the timer have been taken away; whole ones, as the kernel counts."""

_BUFFER = Path(__file__).with_name("buffer.js")
_BEFORE = """\
globalThis.print = () => {};
globalThis.console = { log: print, info: print, warn: print, error: print, debug: print, trace: print };
globalThis.__json = ((stringify, isView, list) => function __json(value) {
  return stringify(value, (key, item) =>
    typeof item === "string" ? item.toWellFormed() : isView(item) ? list(item) : item);
})(JSON.stringify, ArrayBuffer.isView, Array.from.bind(Array));
"""
_CALLS = {  # the names that makers use: TS013, ChirpStack v3, The Things Network v2
    "decode": """((asked) => {
  const bytes = asked.bytes, port = asked.fport, recvTime = new Date(asked.time === null ? NaN : asked.time);
  if (typeof decodeUplink === "function")
    return __json([true, decodeUplink({ bytes, fPort: port, recvTime, variables: {} })]);
  if (typeof Decode === "function") return __json([false, Decode(port, bytes, {})]);
  if (typeof Decoder === "function") return __json([false, Decoder(bytes, port)]);
})""",
    "encode": """((asked) => {
  const data = asked.data, port = asked.fport;
  if (typeof encodeDownlink === "function") return __json([true, encodeDownlink({ data, fPort: port, variables: {} })]);
  if (typeof Encode === "function") return __json([false, Encode(port, data, {})]);
  if (typeof Encoder === "function") return __json([false, Encoder(data, port)]);
})""",
}
_CALLS["load"] = """(() => {
  if ([typeof decodeUplink, typeof Decode, typeof Decoder].includes("function")) return true;
})"""
_NAMES = {"decode": "decodeUplink, Decode or Decoder", "encode": "encodeDownlink, Encode or Encoder"}
_NAMES["load"] = _NAMES["decode"]


def main() -> None:
    """Answer requests until the agent closes the socket."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for end in (signal.SIGINT, signal.SIGTERM):  # they are for the agent, which then closes the socket
        signal.signal(end, signal.SIG_IGN)
    wire = socket.socket(fileno=0)
    for what, most in LIMITS.items():
        resource.setrlimit(what, (most, most))
    try:
        import _quickjs as engine  # the package around it only adds threads, and 2 MB
    except ImportError as error:
        wire.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
        return
    wire.sendall(b"{}\n")
    with wire.makefile("rb") as requests:
        for line in requests:
            request = json.loads(line)
            signal.setitimer(signal.ITIMER_REAL, LOOK if request["call"] == "load" else TIME)
            _limit_cpu()
            answer = _answer(engine, request, line.decode())
            signal.setitimer(signal.ITIMER_REAL, 0)
            wire.sendall(answer.encode() + b"\n")


def _limit_cpu() -> None:
    """What was used so far, and CPU seconds more. It counts for the whole life of a process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + CPU
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _answer(engine: Any, request: dict[str, Any], asked: str) -> str:
    call = request["call"]
    try:
        source = _source(request["file"])
        context = engine.Context()
        context.set_memory_limit(HEAP)
        context.eval(_BEFORE)
        if "Buffer" in source and "function Buffer(" not in source:  # some bring their own
            context.eval(_BUFFER.read_text())
        context.eval(source)
        value = context.eval(f"{_CALLS[call]}({asked})")
    except (OSError, ValueError, engine.JSException) as error:
        return json.dumps({"error": _words(error), "place": _place(error)})
    if value is None:
        return json.dumps({"error": f"there is no function {_NAMES[call]} in it"})
    return json.dumps({"value": value})


def _source(file: str) -> str:
    with Path(file).open("rb") as opened:
        source = opened.read(SOURCE + 1)
    if len(source) > SOURCE:
        raise ValueError("the file is larger than 1 MiB")
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise ValueError(f"the file is not UTF-8 (line {line})") from None


def _words(error: Exception) -> str:
    """One line: what was thrown, and the line of the codec where that was."""
    if isinstance(error, OSError):
        return f"the file cannot be read: {error.strerror}"
    words, *stack = str(error).split("\n")
    if words in ("", "null"):
        return "out of memory (2 MiB), or null was thrown"
    place = _place(error)
    ours = any("__json" in frame for frame in stack)
    return words[:300] + (f" (line {place[0]})" if place and not ours else "")


def _place(error: Exception) -> tuple[int, int] | None:
    """Line and column, from 1, where it was thrown, as the engine says them; None if it does not."""
    found = re.search(r"<input>:([0-9]+)(?::([0-9]+))?", str(error)) if not isinstance(error, OSError) else None
    return (int(found[1]), int(found[2] or 1)) if found else None


if __name__ == "__main__":
    main()
