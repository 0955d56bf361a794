"""A Unix socket as a transport whose bytes may have descriptors beside them; asyncio's own would lose those.

The protocol gets what any :class:`asyncio.Protocol` gets. Descriptors that came are taken with :meth:`take_fds` when
the line is read that they belong to; they never come later than its last byte.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from stoker.model.errors import InvalidBuffer, ProtocolError
from stoker.wire import rights
from stoker.wire.outgoing import Outgoing
from stoker.wire.rights import close_all

CHUNK = 1 << 18
READS = 16
"""Reads in one turn of the loop: who talks without end must not have it to himself."""
HIGH = 1 << 16
"""Bytes that wait to be written when the protocol is told to pause; it is told to go on when none wait."""


class Listener(Protocol):
    """The protocol's side."""

    def connection_made(self, transport: Any) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def trouble(self, error: InvalidBuffer) -> None:
        """Descriptors came that cannot be."""


class Transport(Outgoing):
    """One connection. Closing it lets what was written go out first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, listener: Listener) -> None:
        super().__init__(loop, sock)
        self._raw = sock
        self._listener = listener
        self._fds: deque[int] = deque()
        self._paused = False
        self._reading = True
        self._closing = False
        listener.connection_made(self)
        if self._reading and not self._closing:
            loop.add_reader(sock.fileno(), self._read)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._raw if name == "socket" else default

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send in order. The descriptors are given away, whatever happens."""
        if self._closing:
            close_all(fds)
            return
        self._put(data, fds)
        if self._backlog and not self._paused and self._size() > HIGH:
            self._paused = True
            self._listener.pause_writing()

    def take_fds(self, count: int) -> list[int]:
        """The descriptors that belong to the line at hand; the receiver owns them. Raises :class:`ProtocolError` when
        there are not so many."""
        if count > len(self._fds):
            raise ProtocolError(f"{count} buffers were announced, and {len(self._fds)} descriptors came with the line")
        return [self._fds.popleft() for _ in range(count)]

    def pause_reading(self) -> None:
        """Read nothing for now; that the other side is gone is noticed by what is still to be written."""
        if self._reading and not self._closing:
            self._reading = False
            self._loop.remove_reader(self._raw.fileno())

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            self._loop.add_reader(self._raw.fileno(), self._read)

    @property
    def unsent_fds(self) -> int:
        """Descriptors that wait to be sent."""
        return sum(len(fds) for _, fds in self._backlog)

    @property
    def stray_fds(self) -> int:
        """Descriptors that no line has claimed yet."""
        return len(self._fds)

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
        if not self._backlog:
            self._loop.call_soon(self._end)

    def abort(self) -> None:
        """Close without another word."""
        self._closing = True
        self._end()

    def _read(self) -> None:
        for _ in range(READS):
            if self._sock is None or self._closing or not self._reading:
                return
            try:
                data, fds = rights.receive(self._sock, CHUNK)
            except BlockingIOError:
                return
            except InvalidBuffer as error:
                self._listener.trouble(error)
                return
            except OSError:
                data, fds = b"", []
            self._fds.extend(fds)
            if not data:
                self.abort()
                return
            self._listener.data_received(data)
            if len(data) < CHUNK and not fds:
                return

    def __del__(self) -> None:
        # its loop was closed before it was
        if self._sock is not None:
            self._sock.close()
            while self._fds:
                close_all((self._fds.popleft(),))

    def _size(self) -> int:
        return sum(len(data) for data, _ in self._backlog)

    def _broken(self) -> None:
        self.abort()

    def _emptied(self) -> None:
        if self._closing:
            self._loop.call_soon(self._end)
        elif self._paused:
            self._paused = False
            self._listener.resume_writing()

    def _end(self) -> None:
        if self._sock is None:
            return
        self._drop()
        while self._fds:
            close_all((self._fds.popleft(),))
        self._listener.connection_lost(None)
