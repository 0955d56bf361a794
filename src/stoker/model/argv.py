"""Argument lists of programs: how a command's input becomes one, and what the program's end means.

There is no shell anywhere: an element of the list is either a fixed text or stands for one value of the input as a
whole, so no value can become two arguments, or a part of another.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from stoker.model.command import CommandSpec
from stoker.model.errors import AppError, InvalidInput
from stoker.model.schema import JsonCodec, Signature

RESULTS = ("exit", "json")
Value = str | int | float
_PLACE = re.compile(r"\{input\.([A-Za-z][A-Za-z0-9_]*)\}\Z")


def checked_result(result: str) -> str:
    if result not in RESULTS:
        raise AppError(f"result of a script: {result!r} is none of {', '.join(RESULTS)}")
    return result


def as_script(spec: CommandSpec, signature: Signature, result: str) -> tuple[CommandSpec, Signature]:
    """A command whose handler returns an argument list, as one that runs the program."""
    signature.output = JsonCodec()
    return msgspec.structs.replace(spec, script=result), signature


def template(name: str, parts: Sequence[str]) -> Callable[..., list[str]]:
    """A function from the fields of the input to the argument list. Raises :class:`AppError` for a list that makes no
    sense."""
    fields: dict[str, Any] = {}
    places = []
    for part in parts:
        found = _PLACE.match(part) if isinstance(part, str) else None
        if not isinstance(part, str) or (found is None and "{input" in part):
            raise AppError(
                f"script {name}: {part!r} is neither a text nor '{{input.field}}'; a value is an argument of its own"
            )
        places.append((part, None if found is None else found[1]))
        if found is not None:
            fields[found[1]] = Value
    if not parts or places[0][1] is not None:
        raise AppError(f"script {name}: the first of the list is the program, a fixed text")

    def made(**values: Value) -> list[str]:
        return [part if field is None else _argument(field, values[field]) for part, field in places]

    made.__name__ = made.__qualname__ = name
    made.__doc__ = f"Run {' '.join(parts)}."
    made.__annotations__ = {**fields, "return": list[str]}
    kind = inspect.Parameter.KEYWORD_ONLY
    made.__signature__ = inspect.Signature([inspect.Parameter(field, kind) for field in fields])  # type: ignore[attr-defined]
    return made


def _argument(field: str, value: Value) -> str:
    text = str(value)
    if isinstance(value, str) and text.startswith("-"):
        raise InvalidInput(f"{field}: {text[:40]!r} begins with '-', so the program would take it for an option")
    if "\0" in text:
        raise InvalidInput(f"{field}: an argument cannot contain the character NUL")
    return text


def checked(found: Any) -> list[str]:
    """What a handler returned, as an argument list. Raises :class:`InvalidInput`."""
    if not isinstance(found, list | tuple) or not found or not all(isinstance(one, str) for one in found):
        raise InvalidInput(f"a script is a list of texts, the program first; the handler returned {found!r:.200}")
    if any("\0" in one for one in found):
        raise InvalidInput("an argument cannot contain the character NUL")
    return list(found)
