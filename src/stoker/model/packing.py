"""From a call as Python writes it to a request: the arguments packed as input, the options told apart from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stoker.model import ids, quantities, tracing
from stoker.model.audience import user_name
from stoker.model.command import Command
from stoker.model.errors import StokerError
from stoker.model.job import Unique
from stoker.model.request import Request
from stoker.model.schema import JsonCodec

OPTIONS = frozenset(
    {"id", "user", "priority", "delay", "at", "expires", "tags", "unique", "key", "timeout", "retries", "memory"}
)
"""What a submission may say besides its input."""

_json = JsonCodec()


def pack(
    command: Command[..., Any] | str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Request:
    """A request for a job; for a command that is at hand, with its input checked against its types, and with the
    options it was given beforehand.

    Raises InvalidInput, naming the field, before anything is sent.
    """
    if isinstance(command, Command):
        options = {**command.preset, **options}
        name, input, checked = command.name, command.signature.pack(tuple(args), kwargs), command.spec.fingerprint
    else:
        if len(args) > 1 or (args and kwargs):
            raise TypeError("a command given by name takes one mapping, or its input as keywords")
        name, input, checked = command, _json.encode(args[0] if args else dict(kwargs)), None
    unknown = set(options) - OPTIONS
    if unknown:
        raise TypeError(f"unknown option {', '.join(sorted(unknown))}; known are {', '.join(sorted(OPTIONS))}")
    found = _options(options)
    trace = tracing.submitted(name, found["id"])
    return Request(command=name, input=msgspec.Raw(input), checked=checked, trace=trace, **found)


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in options.items() if value is not None}
    if "id" not in found:
        found |= {"id": ids.new_job_id(), "fresh": True}
    if "user" in found:
        found["user"] = user_name(found["user"])
    try:
        for name in ("delay", "expires", "timeout"):
            if name in found:
                found[name] = quantities.seconds(found[name])
        if "memory" in found:
            found["memory"] = quantities.size(found["memory"])
        if "at" in found and hasattr(found["at"], "timestamp"):
            found["at"] = found["at"].timestamp()
        if "tags" in found:
            found["tags"] = tuple(found["tags"])
        if "unique" in found:
            found["unique"] = _unique(found["unique"])
    except ValueError as error:
        raise StokerError(str(error)) from None
    return found


def _unique(given: Any) -> Unique | None:
    if isinstance(given, Unique) or given is None:
        return given
    if given is True:
        return Unique()
    if isinstance(given, str):
        return Unique(key=given)
    raise TypeError("unique is True, a key, or Unique(key=…, window=…, on_duplicate=…)")


def split_options(parameters: Sequence[str], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell a submission's options from its input; a parameter of the handler wins over an option of the same name."""
    options = {name: value for name, value in kwargs.items() if name in OPTIONS and name not in parameters}
    return {name: value for name, value in kwargs.items() if name not in options}, options
