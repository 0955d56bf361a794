"""The text of a schedule file as tables, with the line of each. What is no JSON or TOML is told with its place."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any, NoReturn

from stoker.model.objects import Twice, once

TABLE = "schedule"
"""The key of the list of entries, where a file is not a list itself."""
_SPACE = re.compile(r"[ \t\n\r]*")
_HEAD = re.compile(rf"^[ \t]*\[\[[ \t]*{TABLE}[ \t]*\]\]", re.M)
_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)")


class Unreadable(Exception):
    """The file as a whole cannot be read, from this place on."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


def parse(text: str, toml: bool) -> Iterator[tuple[int, Any]]:
    """Line and table of each entry. Raises :class:`Unreadable`, perhaps after some of them."""
    try:
        yield from _toml(text) if toml else _json(text)
    except RecursionError:
        raise Unreadable("is nested too deep") from None


def _toml(text: str) -> Iterator[tuple[int, Any]]:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        line, column = (int(place[1]), int(place[2])) if place else (None, None)
        raise Unreadable(f"is not TOML: {_PLACE.sub('', str(error))}", line, column) from None
    except ValueError as error:
        raise Unreadable(f"is not TOML: {error}") from None
    lines = [_line(text, head.start() + len(head[0]) - 1) for head in _HEAD.finditer(text)]
    tables = _listed(found)
    yield from zip(lines if len(lines) == len(tables) else [1] * len(tables), tables, strict=True)


def _json(text: str) -> Iterator[tuple[int, Any]]:
    decoder = json.JSONDecoder(object_pairs_hook=once, parse_constant=_constant)
    start = _space(text, 0)
    if text[start : start + 1] != "[":
        found, end = _value(decoder, text, start)
        _end(text, end)
        yield from ((_line_of(text, table), table) for table in _listed(found))
        return
    place = _space(text, start + 1)
    line, counted = 1, 0
    if text[place : place + 1] == "]":
        _end(text, place + 1)
        return
    while True:
        line, counted = line + text.count("\n", counted, place), place
        found, place = _value(decoder, text, place)
        yield line, found
        place = _space(text, place)
        mark = text[place : place + 1]
        if mark == "]":
            _end(text, place + 1)
            return
        if mark != ",":
            _fail(text, "Expecting ',' delimiter", place)
        place = _space(text, place + 1)


def _listed(found: Any) -> list[Any]:
    if not isinstance(found, dict) or list(found) not in ([TABLE], []):
        other = next((key for key in found if key != TABLE), "") if isinstance(found, dict) else ""
        raise Unreadable(
            f"is a list of entries, or has one named {TABLE!r}" + (f", not {other!r:.60}" if other else "")
        )
    tables = found.get(TABLE, [])
    if not isinstance(tables, list):
        raise Unreadable(f"{TABLE!r} is a list of entries")
    return tables


def _value(decoder: json.JSONDecoder, text: str, place: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, place)
    except json.JSONDecodeError as error:
        raise Unreadable(f"is not JSON: {error.msg}", error.lineno, error.colno) from None
    except Twice as error:
        raise Unreadable(f"the key {error.key!r:.80} is there twice in one entry", _line(text, place)) from None
    except ValueError as error:
        raise Unreadable(f"is not JSON: {error}", _line(text, place)) from None


def _fail(text: str, message: str, place: int) -> NoReturn:
    error = json.JSONDecodeError(message, text, place)
    raise Unreadable(f"is not JSON: {message}", error.lineno, error.colno)


def _end(text: str, place: int) -> None:
    place = _space(text, place)
    if place < len(text):
        _fail(text, "there is more after its end", place)


def _space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None
    return found.end()


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _line_of(text: str, table: Any) -> int:
    """Where an entry stands, by its name."""
    name = table.get("name") if isinstance(table, dict) else None
    return _line(text, max(0, text.find(json.dumps(name)))) if isinstance(name, str) else 1


def _constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")
