"""The child process that runs JavaScript codecs, one request after the other. It imports nothing of ours.

A request is a line of JSON on its standard input, a socket; the answer is one too. First it says whether it can
start. Each request gets a fresh context of HEAP bytes, LOAD seconds of processor time for the codec's file and TIME for
its call. The kernel's timer ends the whole process when they are over, in the middle of whatever native code runs, and
also when the agent itself is gone. It is processor time, so that a busy machine costs no payload.

A codec that breaks out of the engine finds little: no environment, and LIMITS that the kernel keeps.
"""

import json
import re
import resource
import signal
import socket
from itertools import dropwhile
from pathlib import Path
from typing import Any

HEAP = 8 << 20
"""Bytes. Of the public vectors most pass with 768 KiB, but a codec of 300 kB takes 4 MiB while it is read."""
TIME = 0.5
"""Seconds of processor time for the call."""
LOAD = 2.0
"""The same for the file. 300 kB take 10 ms on a fast machine, and a large part of a second on the slowest Pi."""
LOOK = 5.0
"""The same for a codec that is only loaded, to see whether it can be."""
SOURCE = 1 << 20
"""The most bytes of a codec's file."""

LIMITS = {
    resource.RLIMIT_AS: 192 << 20,  # bytes; the interpreter and the engine take some 30 MiB of it
    resource.RLIMIT_NOFILE: 16,
    resource.RLIMIT_FSIZE: 0,  # it writes no files
    resource.RLIMIT_NPROC: 0,  # and starts neither processes nor threads (root is exempt from that)
    resource.RLIMIT_CORE: 0,
}
"""The limits of the process, from its start on."""
CPU = 6
"""Seconds of processor time a request, should the timer have been taken away; whole ones, as the kernel counts."""

_BUFFER = Path(__file__).with_name("buffer.js")
_MODULE = Path(__file__).with_name("module.js")
_MODULE_WORDS = re.compile(r"\b(exports|module|require|self|global|TextDecoder|TextEncoder|export|import)\b")
_BEFORE = """\
globalThis.print = () => {};
globalThis.console = new Proxy({}, { get: () => print });
globalThis.__json = ((stringify, isView, list) => function __json(value) {
  return stringify(value, function (key, item) {
    const own = this[key];  // before the toJSON of a Buffer
    return typeof item === "string" ? item.toWellFormed() : isView(own) ? list(own) : item;
  });
})(JSON.stringify, ArrayBuffer.isView, Array.from.bind(Array));
globalThis.__given = (standard, call) => {
  let value;
  try { value = call(); } catch (error) {  // an object that is no Error has no words of its own
    throw Object(error) === error && !(error instanceof Error) ? String(error.message || __json(error)) : error;
  }
  if (value && typeof value.then === "function") throw "it returned a promise (async), and a codec answers at once";
  return __json([standard, value]);
};
"""
_HOMES = ("driver", "exports", "module.exports", "module.exports.driver", "module.exports.default", "Codec", "codec")
"""Where a codec's functions are looked for, after the plain names: bundles (`driver`), CommonJS, one object for all."""
_FIND = """((...names) => {
  const plain = {%s}, homes = [plain, %s];
  for (const name of names)
    for (const home of homes)
      if (home && typeof home[name] === "function") return [name, home === plain ? plain[name] : home[name].bind(home)];
  return [];
})"""
_STYLES = {  # what makers write: TS013, ChirpStack v3, The Things Network v2
    "decode": ("decodeUplink", "Decode", "Decoder"),
    "encode": ("encodeDownlink", "Encode", "Encoder"),
}
_STYLES["load"] = _STYLES["decode"]
_CALLS = {
    "decode": """((asked, name, call) => {
  const bytes = asked.bytes, port = asked.fport, variables = asked.variables || {};
  const recvTime = new Date(asked.time === null ? NaN : asked.time);
  if (name === "decodeUplink") return __given(true, () => call({ bytes, fPort: port, recvTime, variables }));
  if (name === "Decode") return __given(false, () => call(port, bytes, variables));
  if (name === "Decoder") return __given(false, () => call(bytes, port));
})""",
    "encode": """((asked, name, call) => {
  const data = asked.data, port = asked.fport, variables = asked.variables || {};
  if (name === "encodeDownlink") return __given(true, () => call({ data, fPort: port, variables }));
  if (name === "Encode") return __given(false, () => call(port, data, variables));
  if (name === "Encoder") return __given(false, () => call(data, port));
})""",
    "load": "((asked, name) => name)",
}


def main() -> None:
    """Answer requests until the agent closes the socket."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
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
            signal.setitimer(signal.ITIMER_PROF, LOOK if request["call"] == "load" else LOAD)
            _limit_cpu()
            answer = _answer(engine, request, line.decode())
            signal.setitimer(signal.ITIMER_PROF, 0)
            wire.sendall(answer.encode() + b"\n")


def _limit_cpu() -> None:
    """Limit the CPU time to what was used so far and some seconds more: the limit is for the life of a process."""
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
        if _MODULE_WORDS.search(source) or "Buffer" in source:
            context.eval(_MODULE.read_text())
        if "Buffer" in source and "function Buffer(" not in source:  # some bring their own
            context.eval(_BUFFER.read_text())
        context.eval(_script(source))
        if call != "load":
            signal.setitimer(signal.ITIMER_PROF, TIME)
        value = context.eval(f"{_CALLS[call]}({asked}, ...{_find(_STYLES[call])})")
    except (OSError, ValueError, engine.JSException) as error:
        return json.dumps({"error": _words(error), "place": _place(error)})
    if value is None:
        first, second, third = _STYLES[call]
        return json.dumps({"error": f"there is no function {first}, {second} or {third} in it"})
    return json.dumps({"value": value})


def _find(names: tuple[str, ...]) -> str:
    """The expression that gives the first of these functions that is there, and its name."""
    plain = ", ".join(f"{name}: {_there(name)}" for name in names)
    return f"{_FIND % (plain, ', '.join(map(_there, _HOMES)))}({', '.join(map(json.dumps, names))})"


def _there(path: str) -> str:
    """An expression for a dotted name, undefined where nothing has it; a name of `let` or `const` is found too."""
    first, dot, rest = path.partition(".")
    value = f"{first}?.{rest.replace('.', '?.')}" if dot else first
    return f"(typeof {first} === 'undefined' ? undefined : {value})"


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


_START = r"(?:^[ \t]*|(?<=[;}]))"
"""Where a statement of a module begins, in a file that was made small too."""
_MODULE_FORM = re.compile(_START + r"(?:export|import)\b", re.M)
_EXPORTED = re.compile(
    _START
    + r"export[ \t]+(?:default[ \t]+)?"
    + r"(?=(?:async[ \t]+)?(?:function|class)\b[ \t]*\*?[ \t]*\w|const\b|let\b|var\b)",
    re.M,
)
_LIST = re.compile(_START + r"export[ \t]*(\{[^}]*\})", re.M)
_DEFAULT = re.compile(_START + r"export[ \t]+default\b", re.M)
_NAME = r"""[ \t]*("[^"\n]*"|'[^'\n]*')(?:[ \t]*(?:with|assert)[ \t]*\{[^}\n]*\})?"""
_FROM = re.compile(_START + r"export[ \t]*(?:\*(?:[ \t]*as[ \t]+[\w$]+)?|\{[^}]*\})[ \t]*from" + _NAME, re.M)
_IMPORT = re.compile(
    _START + r"import[ \t]*(?:([\w$]+)?[ \t]*,?[ \t]*(?:\*[ \t]*as[ \t]+([\w$]+)|(\{[^}]*\}))?[ \t]*from)?" + _NAME,
    re.M,
)
_AS = re.compile(r"([\w$]+)\s+as\s+([\w$]+)")


def _script(source: str) -> str:
    """A module as a script, line by line: what it exports is put into `exports`, what it imports is required."""
    if not _MODULE_FORM.search(source):
        return source
    source = _EXPORTED.sub(lambda found: " " * len(found[0]), source)
    source = _FROM.sub(lambda found: f";Object.assign(exports, require({found[1]}))", source)
    source = _LIST.sub(lambda found: f";Object.assign(exports, {_renamed(found[1], 2, 1)})", source)
    source = _DEFAULT.sub(";exports.default =", source)
    return _IMPORT.sub(_required, source)


def _required(found: re.Match[str]) -> str:
    """An import of a whole module, of names in it, of both, or for its effect alone."""
    whole, all_as, names, module = found.groups()
    into = [name for name in (whole, all_as, names and _renamed(names, 1, 2)) if name]
    return f"var {', '.join(f'{name} = require({module})' for name in into)}" if into else f";require({module})"


def _renamed(names: str, key: int, value: int) -> str:
    """`{a as b}` as an object's own form."""
    return _AS.sub(lambda found: f"{found[key]}: {found[value]}", names)


def _words(error: Exception) -> str:
    """One line: what was thrown, and the line of the codec where that was."""
    if isinstance(error, OSError):
        return f"the file cannot be read: {error.strerror}"
    words, *stack = str(error).split("\n")
    if words in ("", "null"):
        return f"out of memory ({HEAP >> 20} MiB), or null was thrown"
    place = _place(error)
    ours = any("__json" in frame for frame in stack)
    return words[:300] + (f" (line {place[0]})" if place and not ours else "")


_FRAME = re.compile(r"at (?:([^\n(]*) \()?[^\n]*<input>:([0-9]+)(?::([0-9]+))?")
_OURS = re.compile(
    r"#\w+|Buffer|TextDecoder|require|from|alloc|concat|byteLength|fill|indexOf|includes|write|copy|toString|decode|swap\d\d"
    r"|(?:read|write)[A-Z]\w*(?:8|LE|BE)"
)
_THROWS = re.compile(r"#\w+|TextDecoder|require")
"""Functions that throw in Buffer and its neighbours; beneath are others of them, then the codec that called."""


def _place(error: Exception) -> tuple[int, int] | None:
    """Line and column, from 1, of the codec where it was thrown, as the engine says them; None if it does not."""
    frames = _FRAME.findall(str(error)) if not isinstance(error, OSError) else []
    if frames and _THROWS.fullmatch(frames[0][0]):
        frames = list(dropwhile(lambda frame: _OURS.fullmatch(frame[0]), frames))
    return (int(frames[0][1]), int(frames[0][2] or 1)) if frames else None


if __name__ == "__main__":
    main()
