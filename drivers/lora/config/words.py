"""Points that give words ("open", "close") where a control wants on or off: found before the control sits silent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.site.language.units import is_known
from agent.site.profiles.kind import Words

__all__ = ["is_unclear", "words_of"]

_LARGEST = 1 << 20  # bytes of a codec, as the process that runs it takes
_MOST = 4000  # characters of one expression or one function that are looked at
_TEXT = re.compile(r"""(===?|!==?|\w\s*\[)?\s*(?:"([^"\\\n]{1,40})"|'([^'\\\n]{1,40})')""")
"""A literal, and what is before it where it is no value: a comparison, the key of a field."""
_WORD = re.compile(r"\w[\w .,/()%+-]*")
_COMMENT = re.compile(r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|//[^\n]*|/\*.*?\*/""", re.S)
"""A text, which stays, or a comment."""
_BINARY = re.compile(r"[!=]=|!|\b(true|false|Boolean)\b|[<>]|&")
"""Signs in a codec's code that make on or off of a value."""
_QUOTED = re.compile(r""""[^"\n]*"|'[^'\n]*'""")
_TEXTS = r"""("[^"\n]*"|'[^'\n]*')"""
_PUT_TOGETHER = (
    r"""((?:[\w.]{1,40}\s?\+\s?)?(?:"[^"\n]{0,40}"|'[^'\n]{0,40}')\s?(?:\+[^;,\]\n]{1,80})?"""
    r"""|`[^`$\n]{0,40}\$\{[^`\n]{1,80}`)"""
)
"""A name that is put together of texts and numbers; bounded, because a codec may be one line of a megabyte."""
_KEY = re.compile(rf"\[\s?{_PUT_TOGETHER}\s?\]\s?=(?!=)\s?")
_MADE = re.compile(rf"(?<![\w$.])([\w$]{{1,60}})\s?=\s?{_PUT_TOGETHER}\s?[;,\n]")
_NAME = re.compile(r"[\w$.]+")
_OFF = frozenset({
    "off", "close", "closed", "no", "false", "normal", "idle", "low", "inactive", "none", "ok", "dry", "disable",
    "disabled", "vacant", "l", "0", "unknown",
})  # fmt: skip
_NUMBER = re.compile(r"-?(?:0x[0-9a-fA-F]+|[0-9.]+)")
_CALL = re.compile(r"(?:\w+\.)*(\w+)\s*\(")


def words_of(profile: Mapping[str, Any], point: str) -> Words | None:
    """The words that a point gives, as far as its profile or the maker's codec shows them; None: no words.

    Measured on two public catalogues: of 291 fields with words for on or off 251 are found, and is_unclear says so of
    the others; of 264 that are true or false none is taken for a word, of 2,890 numbers twelve are.
    """
    entry, lora = profile["points"][point], profile["lora"]
    if entry.get("states") or entry.get("unit"):  # a word in place of a number is bad when it comes, with its reason
        return None
    field = entry.get("field") or point
    if any(name == field for name in _texts(lora)):
        return Words(())
    return _in_codec(lora["codec"], field.rpartition(".")[2]) if lora.get("codec") else None


def is_unclear(profile: Mapping[str, Any], point: str) -> bool:
    """Whether nothing shows that a contact which a codec gives is on or off, or a word is among what it may be."""
    entry, lora = profile["points"][point], profile["lora"]
    if entry.get("states") or entry.get("unit") or not lora.get("codec"):
        return False
    field = (entry.get("field") or point).rpartition(".")[2]
    source = _source(lora["codec"])
    values = [value for _, value in _assigned(source, field)]
    return any(_words(source, value) for value in values) or not any(_BINARY.search(_bare(value)) for value in values)


def _texts(lora: Mapping[str, Any]) -> Iterator[str]:
    """The fields of struct and tlv that are texts."""
    records = [*(lora.get("struct") or ()), *(lora.get("tlv") or ())]
    for part in [*records, *(inner for record in records for inner in record.get("fields") or ())]:
        if "field" in part and (part["as"] if "as" in part else part.get("type")) in ("hex", "ascii"):
            yield part["field"]


def _in_codec(file: str, field: str) -> Words | None:
    """Words that a codec puts into a field itself, or through a function of its own."""
    source = _source(file)
    said: list[str] = []
    line = 0
    for start, value in _assigned(source, field):
        words = _words(source, value)
        if not words or not all(_WORD.fullmatch(word) for word in words):  # text that can be read both ways is accepted
            return None
        said += words
        line = line or source.count("\n", 0, start) + 1
    words = tuple(dict.fromkeys(said))[:4]
    return Words(words, _states(words), f"{Path(file).name} line {line}") if words else None


def _states(words: Sequence[str]) -> str:
    """How a profile could say which word is on; words that are not known for off come before those that are."""
    first, *others = sorted(words, key=lambda word: word.casefold() in _OFF)
    return f"{{{first}: on, {others[0] if len(others) == 1 else '…'}: off}}"


def _source(file: str) -> str:
    """A codec without its comments, line by line; empty where it is not there, or too large to be one."""
    path = Path(file)
    if not path.is_file() or path.stat().st_size > _LARGEST:
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    return _COMMENT.sub(lambda one: one[1] or re.sub(r"[^\n]", " ", one[0]), text)


def _assigned(source: str, field: str) -> Iterator[tuple[int, str]]:
    """Each place where a field gets its value, and the expression that gives it; not its place in a table of units
    or of bits."""
    for found in _by_name(source, field):
        bare = found[1].strip()
        if not _NUMBER.fullmatch(bare) and not (_QUOTED.fullmatch(bare) and is_known(bare[1:-1])):
            yield found
    for found in (*_by_part(source, field), *_by_loop(source, field)):
        if not _NAME.fullmatch(found[1].strip()):  # a variable tells nothing
            yield found
    yield from _by_table(source, field)


def _by_name(source: str, field: str) -> Iterator[tuple[int, str]]:
    """`field: …`, `x.field = …`, `x["field"] = …`."""
    name = re.escape(field)
    put = re.compile(rf"""(?:(?<![\w$]){name}|["']{name}["'])\s*\]?\s*(?::|=(?![=>]))\s*""")
    for found in put.finditer(source):
        yield found.start(), _expression(source, found.end())


def _by_part(source: str, field: str) -> Iterator[tuple[int, str]]:
    """`x["input_" + n] = …`, or by a variable: `name = "input_" + n; x[name] = …`."""
    for key in _KEY.finditer(source):
        if _fits(key[1], field):
            yield key.start(), _expression(source, key.end())
    for made in _MADE.finditer(source):
        if _fits(made[2], field):
            yield from _by_variable(source, made[1], made.end())


def _by_loop(source: str, field: str) -> Iterator[tuple[int, str]]:
    """`bits = {field: 0, …}; for (var key in bits) x[key] = …`."""
    name = rf"""(?<![\w$])["']?{re.escape(field)}["']?\s*:\s*\d"""
    for table in re.finditer(rf"(?<![\w$])([\w$]{{1,60}})\s?=\s?\{{[^{{}}]{{0,{_MOST}}}?{name}", source):
        loop = re.compile(rf"for\s*\(\s*(?:var|let|const)\s+([\w$]+)\s+in\s+{re.escape(table[1])}\s*\)")
        found = loop.search(source, table.end(), table.end() + _MOST)
        if found:
            yield from _by_variable(source, found[1], found.end(), found.end() + _MOST // 10)


def _by_variable(source: str, name: str, start: int, end: int | None = None) -> Iterator[tuple[int, str]]:
    """`x[name] = …`, as long as the variable is the same."""
    again = re.compile(rf"(?<![\w$.]){re.escape(name)}\s*(?:=(?!=)|in\s)").search(source, start)
    end = min(end or len(source), again.start() if again else len(source))
    for put in re.compile(rf"\[\s*{re.escape(name)}\s*\]\s*=(?!=)\s*").finditer(source, start, end):
        yield put.start(), _expression(source, put.end())


def _fits(made: str, field: str) -> bool:
    """Whether a name that is put together so can be this field."""
    if made[0] == "`":
        texts = re.split(r"\$\{[^}]*\}", made[1:-1])
        pattern = ".+".join(map(re.escape, texts))
    else:
        quoted = [_QUOTED.fullmatch(part.strip()) for part in made.split("+")]
        texts = [one[0][1:-1] if one else "" for one in quoted]
        pattern = re.sub(r"(\.\+)+", ".+", "".join(re.escape(text) or ".+" for text in texts))
    return any(texts) and re.fullmatch(pattern, field) is not None


def _by_table(source: str, field: str) -> Iterator[tuple[int, str]]:
    """`{NAME: "field", VALUES: {0: "off", 1: "on"}}`."""
    for row in re.finditer(rf""":\s*["']{re.escape(field)}["']\s*,\s*\w+\s*:\s*\{{""", source):
        said = re.findall(r":\s*" + _TEXTS, _expression(source, row.end(), ends=""))
        if said:
            yield row.start(), " ".join(said)


def _expression(source: str, start: int, ends: str = ",;") -> str:
    """From here to the comma, the semicolon or the bracket that ends it."""
    depth = 0
    for at in range(start, min(len(source), start + _MOST)):
        letter = source[at]
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        if depth < 0 or (depth == 0 and letter in ends):
            return source[start:at]
    return source[start : start + _MOST]


def _words(source: str, value: str) -> tuple[str, ...]:
    """The texts that an expression may give, itself or through a function of the codec."""
    if value.startswith("{"):
        return ()
    return _literals(value) or _literals(_returned(source, value)) or _literals(_looked_up(source, value))


def _bare(value: str) -> str:
    """An expression without what it hands to functions, or looks up tables with."""
    bare, depth = "", 0
    for letter in value:
        opens = letter in "([" and (depth or re.search(r"[\w$]\s*$", bare))
        depth += 1 if opens else -1 if depth and letter in ")]" else 0
        bare += "" if depth or letter in ")]" else letter
    return bare


def _literals(expression: str) -> tuple[str, ...]:
    """The texts that an expression may give: not those that it compares with, or calls something with."""
    if re.match(r"(?:\w+\.)*\w+\s*\(", expression):
        return ()
    found = (one[2] or one[3] for one in _TEXT.finditer(expression) if not one[1])
    return tuple(dict.fromkeys(found))[:4]


def _looked_up(source: str, expression: str) -> str:
    """The texts of the codec's own table that an expression takes its value from: `names[bytes[0]]`."""
    taken = re.match(r"([\w$]{3,60})\s?\[", expression)
    table = taken and re.search(rf"(?<![\w$.]){re.escape(taken[1])}\s?=\s?([{{\[])", source)
    if not table:
        return ""
    inside = _expression(source, table.end(), ends="")
    return " ".join(re.findall(r":\s*" + _TEXTS if table[1] == "{" else _TEXTS, inside))


def _returned(source: str, expression: str) -> str:
    """The body of the function that an expression calls, if it is the codec's own."""
    called = _CALL.match(expression)
    body = called and re.search(rf"function\s+{re.escape(called[1])}\s*\([^)]*\)\s*\{{", source)
    if not body:
        return ""
    inside = _expression(source, body.end(), ends="")
    given = re.findall(r"return\s+([^;}\n(]+)|:\s*" + _TEXTS, inside)
    return " ".join(first or second for first, second in given)
