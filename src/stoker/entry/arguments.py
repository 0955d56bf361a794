"""Words of a command line into the input of a command, by the command's JSON Schema.

    stoker call convertPdf 42                     the first property is documentId, an integer: {"documentId": 42}
    stoker call process_source path=a.pdf embed=false

Each word is read as its property wants it: text stays text, everything else is read as JSON. What does not fit is told
before anything is sent, with the name of the field.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from stoker.model.errors import InvalidInput, SettingsError

_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)=(.*)\Z", re.DOTALL)
_YES = {"yes": True, "on": True, "no": False, "off": False}
_WORDS = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": 'a list in JSON, like ["a", "b"]',
    "object": 'an object in JSON, like {"a": 1}',
}
DEPTH_MAX = 20
"""References followed at most: a type may contain itself."""


class Shape:
    """The properties of an input, in their order. ``open`` when others may come beside them."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._defs = schema
        root = self.resolve(schema)
        self.properties: dict[str, Any] = dict(root.get("properties", {}))
        self.required = tuple(root.get("required", ()))
        self.open = bool(root.get("additionalProperties", not self.properties))

    def resolve(self, schema: Any) -> Mapping[str, Any]:
        """A schema with its reference followed."""
        for _ in range(DEPTH_MAX):
            if not isinstance(schema, Mapping):
                return {}
            if "$ref" not in schema:
                return schema
            found: Any = self._defs
            for step in str(schema["$ref"]).removeprefix("#/").split("/"):
                found = found.get(step, {}) if isinstance(found, Mapping) else {}
            schema = found
        return {}

    def kinds(self, schema: Any, depth: int = 0) -> set[str]:
        """The JSON types that a value may have; empty for any."""
        found = self.resolve(schema)
        if "enum" in found or "const" in found:
            return {_kind(value) for value in found.get("enum", [found.get("const")])}
        choices = [*found.get("anyOf", ()), *found.get("oneOf", ())]
        if choices and depth < DEPTH_MAX:
            parts = [self.kinds(choice, depth + 1) for choice in choices]
            return set().union(*parts) if all(parts) else set()
        if "allOf" in found and depth < DEPTH_MAX:
            return self.kinds(found["allOf"][0], depth + 1)
        kind = found.get("type", [])
        return {kind} if isinstance(kind, str) else set(kind)

    def describe(self) -> str:
        """``path, embed=, title=``: what may be left out has a sign of equality."""
        return ", ".join(name if name in self.required else f"{name}=" for name in self.properties) or "nothing"


def _kind(value: Any) -> str:
    names: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"),
    ]  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def read(command: str, words: Sequence[str], base: Any, schema: Mapping[str, Any]) -> Any:
    """The input that ``words`` and ``base`` (from ``--input``) make. Raises :class:`InvalidInput` naming the field."""
    shape = Shape(schema)
    if base is not None and not isinstance(base, dict):
        if words:
            raise InvalidInput(f"{command}: the input is not an object, so it cannot have arguments beside it")
        return base
    found: dict[str, Any] = dict(base or {})
    for name, text in _assigned(command, words, shape):
        found[name] = _value(f"{command}: {name}", text, shape.properties.get(name, {}), shape)
    missing = [name for name in shape.required if name not in found]
    if missing:
        raise InvalidInput(f"{command}: {', '.join(missing)} missing; it takes {shape.describe()}")
    return found


def read_unchecked(command: str, words: Sequence[str], base: Any) -> Any:
    """The same while no daemon can tell the schema: JSON where a word is JSON, text where it is not."""
    if any(not _NAMED.match(word) for word in words):
        raise InvalidInput(f"{command}: without a daemon arguments need names; write name=value")
    return read(command, words, base, {"additionalProperties": True})


def _assigned(command: str, words: Sequence[str], shape: Shape) -> Iterator[tuple[str, str]]:
    """Which property each word is for."""
    places = iter(shape.properties)
    given: set[str] = set()
    for word in words:
        match = _NAMED.match(word)
        if match and (match[1] in shape.properties or shape.open):
            name, text = match[1], match[2]
        elif match:
            raise InvalidInput(_unknown(command, match[1], shape))
        else:
            place = next(places, None)
            if place is None:
                raise InvalidInput(f"{command}: {word!r} is one argument too many; it takes {shape.describe()}")
            name, text = place, word
        if name in given:
            raise InvalidInput(f"{command}: {name}: given twice")
        given.add(name)
        yield name, text


def _unknown(command: str, name: str, shape: Shape) -> str:
    near = difflib.get_close_matches(name, shape.properties, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{command}: has no argument {name!r}{hint}; it takes {shape.describe()}"


def _value(place: str, text: str, schema: Any, shape: Shape) -> Any:
    kinds = shape.kinds(schema)
    value = _read(place, text, kinds)
    choices = shape.resolve(schema).get("enum")
    if choices is not None and value not in choices:
        raise InvalidInput(f"{place}: {text!r} is none of {', '.join(map(str, choices))}")
    return value


def _read(place: str, text: str, kinds: set[str]) -> Any:
    if kinds == {"string"}:
        return text
    if kinds == {"boolean"} and text.lower() in _YES:
        return _YES[text.lower()]
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        if not kinds or "string" in kinds:
            return text
    else:
        kind = _kind(value)
        if kind == "string" and "string" in kinds:
            return text  # with its quotes: they were meant
        if not kinds or kind in kinds or (kind == "integer" and "number" in kinds):
            return value
        if "string" in kinds:
            return text
    wanted = " or ".join(words for name, words in _WORDS.items() if name in kinds and name != "null") or "null"
    raise InvalidInput(f"{place}: {text!r} is not {wanted}")


def given(text: str | None) -> Any:
    """What ``--input`` says: JSON, ``@file``, or ``-`` for standard input; None without it."""
    if text is None:
        return None
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text("utf-8")
        return msgspec.json.decode(text)
    except OSError as error:
        raise SettingsError(f"--input: cannot read {error.filename}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError("--input: is not UTF-8 text") from None
    except RecursionError:
        raise SettingsError("--input: is nested too deep") from None
    except msgspec.DecodeError as error:
        raise SettingsError(f"--input: is not JSON: {error}") from None
