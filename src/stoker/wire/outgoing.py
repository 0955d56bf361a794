"""The writing half of a socket on an event loop: bytes in order, and descriptors with the first byte of theirs."""

from __future__ import annotations

import array
import asyncio
import errno
import socket
from collections import deque
from collections.abc import Sequence

from stoker.wire.rights import close_all

JOINED_MAX = 1 << 16
"""Bytes that pieces are put together to; larger ones go by themselves, uncopied."""
IN_FLIGHT_PAUSE = 0.01
"""Seconds until a write is tried again when the kernel has too many descriptors on their way."""
SCARCE = frozenset({errno.ETOOMANYREFS, errno.ENOBUFS})


class Outgoing:
    """What is sent goes out at once; what is sent after that in the same turn of the loop, and while the other side is
    slow, waits and is written together. The descriptors are given away: closed here when they are sent or cannot be."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock: socket.socket | None = sock
        self._backlog: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._later = False
        """Whether the backlog is written at the end of this turn, or when the other side is ready."""

    def _put(self, data: bytes, fds: Sequence[int]) -> None:
        if self._sock is None:
            close_all(fds)
            return
        self._backlog.append((memoryview(data), fds))
        if not self._later:
            self._later = True
            self._loop.call_soon(self._write)
            self._write_out()

    def _broken(self) -> None:
        """The other side is gone."""
        raise NotImplementedError

    def _emptied(self) -> None:
        """All that was sent is written."""

    def _drop(self) -> None:
        """Close the socket, and the descriptors that will not be sent."""
        assert self._sock is not None
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._sock = None
        while self._backlog:
            close_all(self._backlog.popleft()[1])

    def _write(self) -> None:
        """The end of a turn: what was sent in it goes out."""
        self._later = False
        self._write_out()

    def _ready(self) -> None:
        """The other side takes more."""
        if self._sock is not None:
            self._loop.remove_writer(self._sock.fileno())
        self._write()

    def _write_out(self) -> None:
        while self._backlog and self._sock is not None:
            data, fds = self._next()
            try:
                if fds:
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
                    sent = self._sock.sendmsg([data], [rights])
                else:
                    sent = self._sock.send(data)
            except BlockingIOError:
                self._later = True
                self._backlog.appendleft((data, fds))
                self._loop.add_writer(self._sock.fileno(), self._ready)
                return
            except OSError as error:
                if error.errno in SCARCE:
                    self._later = True
                    self._backlog.appendleft((data, fds))
                    self._loop.call_later(IN_FLIGHT_PAUSE, self._write)
                    return
                close_all(fds)
                self._broken()
                return
            close_all(fds)
            if sent < len(data):
                self._backlog.appendleft((data[sent:], ()))
        self._emptied()

    def _next(self) -> tuple[memoryview, Sequence[int]]:
        """The next piece to write: one, or small ones together as far as no descriptors are among them."""
        data, fds = self._backlog.popleft()
        size = len(data)
        if fds or not self._backlog or size >= JOINED_MAX:
            return data, fds
        pieces = [data]
        while self._backlog and not self._backlog[0][1] and size < JOINED_MAX:
            pieces.append(self._backlog.popleft()[0])
            size += len(pieces[-1])
        return memoryview(b"".join(pieces)), ()
