"""What both clients are made of, without any I/O: requests packed, answers read, errors raised."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stoker import settings
from stoker._version import __version__
from stoker.model.errors import JobCancelled, JobFailed, ProtocolError, WaitTimeout, from_code
from stoker.model.request import Request
from stoker.model.schema import JsonCodec
from stoker.settings import Settings
from stoker.wire import messages
from stoker.wire.records import JobRecord

T = TypeVar("T")
SILENCE = 30.0
"""Seconds without a byte from the daemon, pings included, after which a line is given up (V35)."""

_json = JsonCodec()


def repeated(requests: Sequence[Request]) -> list[Request]:
    """The requests as they are sent another time, when nobody knows whether the first one arrived."""
    return [msgspec.structs.replace(request, fresh=False) for request in requests]


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


def check_end(message: messages.Event) -> None:
    """A topic is at its end. Raises the error that ended it, if one did."""
    mishap = msgspec.json.decode(message.data, type=messages.Mishap | None)
    if mishap is not None:
        raise from_code(mishap.error, mishap.message)


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


def settings_for(address: str | None, given: Settings | None = None) -> tuple[Settings, bool]:
    """The settings to reach the daemon at ``address`` with (None: the current project's), and whether its store is
    surely theirs, so that a job may go straight into it while no daemon runs."""
    own = given or settings.load(products=False)
    if address is None:
        return own, True
    if address.startswith("tcp://"):
        return own, False
    if given is not None:
        return given, True
    path = Path(address.removeprefix("unix://")).absolute()
    if path == own.socket_path:
        return own, True
    if path.parent.name == settings.FOLDER:
        return settings.load({"root": str(path.parent.parent), "socket": str(path)}, products=False), True
    return settings.load({"socket": str(path)}, products=False), False
