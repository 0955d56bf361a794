"""What both clients are made of, without any I/O: requests packed, answers read, errors raised."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from stoker._version import __version__
from stoker.model import ids, quantities
from stoker.model.command import Command
from stoker.model.errors import JobCancelled, JobFailed, ProtocolError, StokerError, WaitTimeout, from_code
from stoker.model.job import Unique
from stoker.model.request import Request
from stoker.model.schema import JsonCodec
from stoker.wire import messages
from stoker.wire.records import JobRecord

T = TypeVar("T")
SILENCE = 30.0
"""Seconds without a byte from the daemon, pings included, after which a line is given up (V35)."""

OPTIONS = frozenset(
    {"id", "user", "priority", "delay", "at", "expires", "tags", "unique", "key", "timeout", "retries", "memory"}
)
"""What a submission may say besides its input."""

_json = JsonCodec()


class Conversation:
    """One connection's side of the protocol: makes the lines to send, reads the lines that come."""

    def __init__(self, *, name: str | None = None, token: str | None = None, limit: int = 80 << 20) -> None:
        self._name = name
        self._token = token
        self._ids = itertools.count(1)
        self._lines = messages.Lines(limit)
        self.boot: str | None = None

    def hello(self) -> bytes:
        init = messages.Init(
            name=self._name or f"{os.path.basename(sys.argv[0] or 'python')}:{os.getpid()}",
            token=self._token,
            protocol=messages.PROTOCOL,
            version=__version__,
        )
        return messages.encode(init)

    def call(self, method: str, params: Any, wait: bool | None = None) -> tuple[int, bytes]:
        """The id of the call and the line to send."""
        number = next(self._ids)
        raw = params if isinstance(params, msgspec.Raw) else msgspec.Raw(_json.encode(params))
        return number, messages.encode(messages.Call(number, method, raw, wait))

    def feed(self, data: bytes) -> list[messages.Message]:
        """What the daemon said. Raises StokerError for an error that answers no call."""
        found: list[messages.Message] = []
        for line in self._lines.feed(data):
            message = messages.decode(line)
            if isinstance(message, messages.Init):
                self.boot = message.boot
            elif isinstance(message, messages.Error) and message.id is None:
                raise from_code(message.code, message.message)
            else:
                found.append(message)
        return found


def read(message: messages.Return | messages.Error, kind: type[T]) -> T:
    """The data of an answer as ``kind``; its error raised."""
    if isinstance(message, messages.Error):
        raise from_code(message.code, message.message)
    try:
        return msgspec.json.decode(message.data, type=kind)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"the daemon's answer is not understood: {error}") from None


def request(
    command: Command[..., Any] | str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Request:
    """A request for a job; for a command that is at hand, with its input checked against its types.

    Raises InvalidInput, naming the field, before anything is sent.
    """
    if isinstance(command, Command):
        name, input, checked = command.name, command.signature.pack(tuple(args), kwargs), command.spec.fingerprint
    else:
        if len(args) > 1 or (args and kwargs):
            raise TypeError("a command given by name takes one mapping, or its input as keywords")
        name, input, checked = command, _json.encode(args[0] if args else dict(kwargs)), None
    unknown = set(options) - OPTIONS
    if unknown:
        raise TypeError(f"unknown option {', '.join(sorted(unknown))}; known are {', '.join(sorted(OPTIONS))}")
    return Request(command=name, input=msgspec.Raw(input), checked=checked, **_options(options))


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in options.items() if value is not None}
    found.setdefault("id", ids.new_job_id())
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


def result(record: JobRecord) -> msgspec.Raw:
    """The output of an ended job. Raises :class:`JobFailed`, :class:`JobCancelled` or :class:`WaitTimeout`."""
    match record.status:
        case "completed":
            return record.output
        case "failed":
            raise JobFailed(f"{record.name} {record.id} failed: {record.error}")
        case "cancelled":
            reason = (record.error or "").removeprefix("Cancelled: ")
            raise JobCancelled(f"{record.name} {record.id} was cancelled: {reason}")
    raise WaitTimeout(f"{record.name} {record.id} is {record.status}; {record.why or 'it goes on'}")
