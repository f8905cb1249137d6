"""From a document to a model, with all that is wrong said in a technician's words.

What is wrong is left out and the rest is validated again, so that checks across sections still see everything else:
one run names all problems of a file.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from agent.lib.suggestion import did_you_mean, suggested
from agent.site.language.alone import model_called, written_for
from agent.site.language.base import Renamed, fields_of
from agent.site.language.commas import report_commas
from agent.site.language.document import Document, Keys
from agent.site.language.problems import listed
from agent.site.language.spellings import PLACES, key_meant, number_meant, whole_meant, word_meant
from agent.site.language.values import DURATION, number, plain
from drivers.registry import foreign

__all__ = ["validate"]

M = TypeVar("M", bound=BaseModel)
_ROUNDS = 50


def validate(document: Document, model: type[M], folder: Path) -> tuple[M | None, set[Keys]]:
    """The model of a document and what had to be left out for it; None if too little was left. Never raises."""
    left_out: set[Keys] = set()
    if not isinstance(document.data, dict):
        document.report((), f"expected keys with their values, found {plain(document.data)}")
        return None, left_out
    data = copy.deepcopy(document.data)
    renamed: list[Renamed] = []
    for turn in range(_ROUNDS):
        models: dict[int, type[BaseModel]] = {}
        found: list[_Finding] = []
        try:
            valid = model.model_validate(data, context={"models": models, "folder": folder, "renamed": renamed})
        except ValidationError as error:
            valid = None
            found = [_Finding(data, models, item) for item in error.errors(include_url=False)]
        if turn == 0:
            _rename(document, data, (), renamed)
            slips, cut = _slips(found), report_commas(document)
            left_out |= cut
            riddles = _riddles(found, slips, cut)
            left_out |= riddles
            for finding in found:
                lacks = (*finding.keys, finding.missing)
                if lacks not in slips and lacks not in riddles and not _is_within(finding.keys, cut):
                    finding.report(document)
            left_out |= _report_empty(document, data, models, ())
            for meant_keys, keys in slips.items():
                document.rename(keys[:-1], str(keys[-1]), str(meant_keys[-1]))
            left_out.update(slips)
        if valid is not None:
            return valid, left_out
        for finding in found:
            left_out.add(_leave_out(data, finding.keys))
    return None, left_out


def _is_within(keys: Keys, others: set[Keys]) -> bool:
    return any(keys[:end] in others for end in range(1, len(keys) + 1))


def _slips(found: Sequence[_Finding]) -> dict[Keys, Keys]:
    """The keys that were meant, and how each is misspelt: what lacks for that alone is not said as well."""
    slips: dict[Keys, Keys] = {}
    for finding in found:
        key = finding.meant_key()
        if key is not None:
            slips.setdefault((*finding.keys[:-1], key), finding.keys)
    return slips


def _riddles(found: Sequence[_Finding], slips: Mapping[Keys, Keys], cut: set[Keys]) -> set[Keys]:
    """The keys that are missing, where another one is meaningless: it may be any of them.

    Each such key is told which of them must be there, so that this is not said as well.
    """
    told: set[Keys] = set()
    for finding in found:
        if finding.type != "extra_forbidden" or finding.meant_key() is not None:
            continue
        mapping = finding.keys[:-1]
        absent = {(*mapping, key) for key in finding.absent()} - slips.keys()
        finding.lacking = [one.missing for one in found if one.missing and (*mapping, one.missing) in absent]
        told |= absent
    told |= {(*keys[:-1], key) for keys in cut if keys[-1] in PLACES for key in ("latitude", "longitude")}
    return told


def _rename(document: Document, data: Any, keys: Keys, renamed: Sequence[Renamed]) -> None:
    """Give retired keys their new names in the document too, with a warning that names the version without them."""
    if not renamed:
        return
    for one in (found for found in renamed if found.mapping is data):
        document.rename(keys, one.key, one.retired.now)
        text = f'"{one.key}" is called "{one.retired.now}" now, and is not understood any more from version '
        document.report((*keys, one.retired.now), text + one.retired.goes_in, severity="warning", at_key=True)
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        _rename(document, value, (*keys, key), renamed)


def _report_empty(document: Document, data: Any, models: Mapping[int, type[BaseModel]], keys: Keys) -> set[Keys]:
    """A key with nothing after it is a slip; only a whole section may be empty. Returns the places of such keys."""
    found: set[Keys] = set()
    if isinstance(data, list):
        for index, item in enumerate(data):
            found |= _report_empty(document, item, models, (*keys, index))
    if not isinstance(data, dict):
        return found
    fields = fields_of(models.get(id(data)))
    for key, value in data.items():
        field = fields.get(key)
        if value is None and field is not None and field.default is None:
            document.report((*keys, key), f'there is no value after "{key}:"; write a value, or remove the key')
            found.add((*keys, key))
        found |= _report_empty(document, value, models, (*keys, key))
    return found


def _leave_out(data: Any, keys: Keys) -> Keys:
    """Take the value out, or the mapping's entry around it when it is in a list; the site itself is replaced."""
    while keys and not isinstance(keys[-1], str):
        keys = keys[:-1]
    if not keys:
        data["site"] = {"id": "unknown"}
        return ("site",)
    parent = data
    for key in keys[:-1]:
        parent = parent[key] if _has(parent, key) else {}
    if isinstance(parent, dict):
        parent.pop(keys[-1], None)
    return keys


def _has(data: Any, key: str | int) -> bool:
    if isinstance(data, dict):
        return key in data
    return isinstance(data, list) and isinstance(key, int) and key < len(data)


class _Finding:
    """One error of pydantic: its place in the file and its message. `keys` is what is left out for it."""

    def __init__(self, data: Any, models: Mapping[int, type[BaseModel]], error: Mapping[str, Any]) -> None:
        self.type: str = error["type"]
        self.input, self.context = error.get("input"), error.get("ctx", {})
        way = list(error["loc"])
        self.at_key = bool(way) and way[-1] == "[key]"
        self.missing = str(way.pop()) if self.type == "missing" else ""
        keys: list[str | int] = []
        parent, here = None, data
        for key in way:  # names of union members are between; they are no keys of the file
            if _has(here, key):
                keys.append(key)
                parent, here = here, here[key]
        self.keys: Keys = tuple(keys)
        self.model, self._parent = models.get(id(parent)), parent
        self.lacking: Sequence[str] = ()
        """For an unknown key: the missing keys that must be beside it."""
        if self.type == "union_tag_not_found" and isinstance(self.input, dict):
            near = [key for key in self.input if isinstance(key, str) and key_meant(key, ("type",))]
            if near:
                self.keys, self.type, self._parent = (*self.keys, near[0]), "type_misspelt", self.input

    def meant_key(self) -> str | None:
        """The key that an unknown one was meant to be, if that is not beside it already."""
        known: list[str] = []
        if self.type == "type_misspelt":
            known = ["type"]
        elif self.type == "extra_forbidden" and self.model is not None and not self._misplaced():
            known = self._known_keys()
        near = key_meant(str(self.keys[-1]), known) if self.keys and known else None
        return near if near is not None and isinstance(self._parent, dict) and near not in self._parent else None

    def _misplaced(self) -> str | None:
        """Find what to do instead, for a key that belongs elsewhere."""
        return getattr(self.model, "misplaced", {}).get(str(self.keys[-1])) if self.keys else None

    def absent(self) -> list[str]:
        """The missing keys that may be beside it."""
        return [key for key in self._known_keys() if isinstance(self._parent, dict) and key not in self._parent]

    def report(self, document: Document) -> None:
        words, hint = self._words(document)
        keys = self.keys
        if self.type == "union_tag_invalid" or self.context.get("at") == "type":
            keys = (*keys, "type")
        document.report(keys, words, hint, at_key=self.at_key or self.type in ("extra_forbidden", "type_misspelt"))

    def _words(self, document: Document) -> tuple[str, str | None]:
        key = self.keys[-1] if self.keys else ""
        if self.type == "missing":
            where = f" in {key}" if isinstance(key, str) and key else ""
            host = self.input.get("host") if self.missing == "port" and isinstance(self.input, dict) else None
            alone, _, port = str(host or "").rpartition(":")
            hint = f'write "host: {alone}" and "port: {port}"' if alone and port.isdigit() else None
            return f'"{self.missing}" is missing{where}', hint
        if self.type == "extra_forbidden":
            return self._unknown_key(str(key))
        if self.type == "type_misspelt":
            return f'unknown key "{key}"', suggested("type")
        if self.type == "written":
            text = str(self.context["text"])
            if self.input is None and not text.startswith("there is no value") and not self.at_key:
                text = f'there is no value after "{key}:"' + text[text.find(";") :] * (";" in text)
            found = text.find("; did you mean")
            return (text[:found], text[found + 2 :]) if found >= 0 else (text, None)
        if self.type == "union_tag_invalid":
            known = [word.strip(" '") for word in str(self.context["expected_tags"]).split(",")]
            if "plugin" in known:
                known = [*(word for word in known if word != "plugin"), *foreign()]
            tag = str(self.context["tag"])
            begun = [f'"{word}"' for word in known if len(tag) > 2 and word.startswith(tag.lower() + "_")]
            near = f"did you mean {listed(begun)}?" if begun else did_you_mean(tag, known)
            return f'unknown type "{tag}"', near or f"known are {listed(known, 'and')}"
        if self.type == "union_tag_not_found":
            return ('"type" is missing' if isinstance(self.input, dict) else self._expected("keys and values")), None
        if self.input is None:
            return f'there is no value after "{key}:"', None
        return self._typed(document), self._hint(document)

    def _hint(self, document: Document) -> str | None:
        """The value to write in place of a text, where a number, or true or false, can be seen in it."""
        if self.type in ("model_type", "model_attributes_type"):
            return self._with_keys(document)
        if self.type == "tuple_type" and isinstance(self.input, dict) and self._lists_mappings():
            return "write a list of such: [{…}]"
        if self.type in ("int_type", "int_from_float") and isinstance(self.input, float):
            found = whole_meant(document.place(self.keys).text or "")
            return f"write {found}" if found else None
        if not isinstance(self.input, str):
            return None
        if self.type == "bool_type":
            state = word_meant(self.input, ("on", "off"))
            return None if state is None else f"write {'true' if state == 'on' else 'false'}"
        is_whole = self.type == "int_type"
        digits = re.fullmatch("([0-9][0-9a-fA-F]*[a-fA-F][0-9a-fA-F]*|[0-9]+(?=[hH]))[hH]?", self.input.strip())
        if is_whole and digits is not None:
            return f"write 0x{digits[1].upper()}"
        found = number_meant(self.input)
        return f"write {found}" if found and (self.type == "float_type" or (is_whole and "." not in found)) else None

    def _lists_mappings(self) -> bool:
        """Whether a list of things with keys of their own is expected."""
        field = fields_of(self.model).get(str(self.keys[-1]))
        items = list(get_args(field.annotation)) if field is not None else []
        for item in items:
            items += get_args(item)  # of one model or another
        return any(isinstance(item, type) and issubclass(item, BaseModel) for item in items)

    def _with_keys(self, document: Document) -> str | None:
        """The one key whose value is there alone, and the others that it needs."""
        value = self.input[0] if isinstance(self.input, list) and len(self.input) == 1 else self.input
        model = model_called(str(self.context.get("class_name")))
        text = document.place(self.keys).text if not isinstance(self.input, list) else None
        found = written_for(model, value, text) if model is not None else None
        if model is None or found is None:
            return None
        needed = [key for key, field in fields_of(model).items() if field.is_required() and key != found.key]
        rest = "".join(f", {key}: …" for key in needed)
        return f"write {{{found}{rest}}}"

    def _unknown_key(self, key: str) -> tuple[str, str | None]:
        if self.model is None:
            return f'unknown key "{key}"', None
        if (misplaced := self._misplaced()) is not None:
            return f'unknown key "{key}"', misplaced
        known = self._known_keys()
        near = key_meant(key, known)
        hint = self._in_place_of(key) if near is None else None
        if hint is not None:
            return f'unknown key "{key}"', hint
        hint = f"known here are {listed(known, 'and')}" if near is None else suggested(near)
        return f'unknown key "{key}"', hint

    def _in_place_of(self, key: str) -> str | None:
        """The keys to write instead of one that does not exist: its value's own keys, or those that must be here."""
        numbers = re.findall(r"-?[0-9]+\.[0-9]+", str(self.input))
        if key.lower() in PLACES and len(numbers) == 2 and "latitude" in self._known_keys():
            return f"write latitude: {numbers[0]}, longitude: {numbers[1]}"
        found = written_for(self.model, key) if self.model is not None and self.input is None else None
        if found is not None:
            return f"write {found}"
        must = [f'"{one}"' for one in self.lacking]
        return f"{listed(must, 'and')} {'is' if len(must) == 1 else 'are'} missing here" if must else None

    def _known_keys(self) -> list[str]:
        return list(fields_of(self.model))

    def _expected(self, what: str) -> str:
        return f"expected {what}, found {plain(self.input)}"

    def _typed(self, document: Document) -> str:
        if self.type == "string_type":
            text = document.place(self.keys).text
            scalar = isinstance(self.input, bool | int | float) and text
            return f'{text} is not text here; write it in quotes: "{text}"' if scalar else self._expected("text")
        if self.type in _TYPES:
            spelt = document.place(self.keys).text if isinstance(self.input, float) else None
            return f"expected {_TYPES[self.type]}, found {spelt}" if spelt else self._expected(_TYPES[self.type])
        if self.type in _BOUNDS:
            words, name = _BOUNDS[self.type]
            if isinstance(self.input, str):  # a duration: no other value that is text has bounds
                return f"{self.input} is {words} {DURATION.format(self.context[name])}"
            return f"{plain(self.input)} is {words} {number(self.context[name])}"
        if self.type == "literal_error":
            return self._expected(str(self.context["expected"]).replace("'", ""))
        if self.type in ("too_short", "string_too_short"):
            return "empty; write one at least"
        return f"{plain(self.input)} is not understood here"


_TYPES = {
    "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number",
    "int_parsing_size": "a smaller number", "finite_number": "a number", "bool_type": "true or false",
    "model_type": "keys with their values", "dict_type": "keys with their values", "tuple_type": "a list",
    "model_attributes_type": "keys with their values",
}  # fmt: skip
_BOUNDS = {
    "greater_than_equal": ("too little; write at least", "ge"), "greater_than": ("too little; write more than", "gt"),
    "less_than_equal": ("too much; write at most", "le"), "less_than": ("too much; write less than", "lt"),
}  # fmt: skip
