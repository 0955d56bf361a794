"""Which Buffers a message's JSON means, while that JSON is written or read.

{"pixels": {"$buffer": 0}, "width": 640}      the first of the descriptors beside the message
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stoker.wire.rights import BUFFERS_MAX

if TYPE_CHECKING:
    from stoker.wire.buffer import Buffer

MARK = "$buffer"


class Exchange:
    """The Buffers beside one message. Within ``with exchange:`` reading JSON takes from ``received``, and writing it
    adds to ``sent``; once something was written, what is read back is what was written."""

    def __init__(self, received: Iterable[Buffer] = ()) -> None:
        self.received = list(received)
        self.sent: list[Buffer] = []
        self._token: contextvars.Token[Exchange | None] | None = None

    def read(self, value: Any) -> Buffer:
        number = value.get(MARK) if isinstance(value, dict) and len(value) == 1 else None
        there = self.sent or self.received
        if isinstance(value, str | bytes | bytearray) and not there:
            raise ValueError("Expected a Buffer: give Buffer.of(data), or Buffer.from_file(path)")
        if type(number) is not int or not 0 <= number < len(there):
            raise ValueError(f'Expected a Buffer: {{"{MARK}": n}} for the n-th of {len(there)} that came along')
        return there[number]

    def write(self, buffer: Buffer) -> int:
        buffer.check()
        for number, there in enumerate(self.sent):
            if there is buffer:
                return number
        if len(self.sent) == BUFFERS_MAX:
            raise ValueError(f"{BUFFERS_MAX} Buffers are the most that can be moved at once")
        self.sent.append(buffer)
        return len(self.sent) - 1

    def filled(self, value: Any) -> Any:
        """``value`` with Buffers in the places where plain JSON has their marks, for what has no declared type."""
        there = self.sent or self.received
        return _filled(value, there) if there else value

    def __enter__(self) -> Exchange:
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)


_current: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("stoker_exchange", default=None)


def current() -> Exchange:
    found = _current.get()
    if found is None:
        raise ValueError("a Buffer is moved by dispatch, and is no part of a stored job; write a file, give its name")
    return found


def _filled(value: Any, there: list[Buffer]) -> Any:
    if type(value) is dict:
        number = value.get(MARK) if len(value) == 1 else None
        if type(number) is int and 0 <= number < len(there):
            return there[number]
        return {name: _filled(one, there) for name, one in value.items()}
    if type(value) is list:
        return [_filled(one, there) for one in value]
    return value
