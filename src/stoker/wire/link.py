"""The same frames on an event loop: the router's side of a channel.

Thinner than a transport, because the router makes one for every job: a reader callback, and a send that writes at once.
What is sent after that in the same turn of the loop, and while the other side is slow, waits and is written together:
under load a hundred jobs are one write. Descriptors can be sent with a frame.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from stoker.wire import frames

CHUNK = 1 << 18
JOINED_MAX = 1 << 16
"""Bytes that frames are put together to; larger ones go by themselves, uncopied."""


class Link:
    """``on_frame`` is called for each frame, ``on_close`` once when the other side is gone or talks nonsense."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        family: msgspec.msgpack.Decoder[Any],
        on_frame: Callable[[Any], None],
        on_close: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock: socket.socket | None = sock
        self._decoder = frames.Decoder(family)
        self._on_frame = on_frame
        self._on_close = on_close
        self._backlog: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._later = False
        """Whether the backlog is written at the end of this turn, or when the other side is ready."""
        loop.add_reader(sock.fileno(), self._read)

    @property
    def closed(self) -> bool:
        return self._sock is None

    def send(self, frame: Any, fds: Sequence[int] = ()) -> None:
        """Send in order; once closed, nothing is sent. The descriptors are given away: closed here when they are sent
        or cannot be."""
        if self._sock is None:
            _close_all(fds)
            return
        self._backlog.append((memoryview(frames.encode(frame)), fds))
        if not self._later:
            self._later = True
            self._loop.call_soon(self._write)
            self._write_out()

    def drain(self) -> None:
        """Handle what has already arrived, without waiting for the loop."""
        self._read()

    def pause(self) -> None:
        """Read nothing for now: the other side talks faster than can be kept."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())

    def resume(self) -> None:
        if self._sock is not None:
            self._loop.add_reader(self._sock.fileno(), self._read)

    def close(self) -> None:
        if self._sock is None:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._sock = None
        while self._backlog:
            _close_all(self._backlog.popleft()[1])
        self._on_close()

    def _read(self) -> None:
        while self._sock is not None:
            try:
                data = self._sock.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            try:
                found = self._decoder.feed(data)
            except (ValueError, RecursionError):
                self.close()
                return
            for frame in found:
                self._on_frame(frame)
            if len(data) < CHUNK:
                return

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
            except OSError:
                _close_all(fds)
                self.close()
                return
            _close_all(fds)
            if sent < len(data):
                self._backlog.appendleft((data[sent:], ()))

    def _next(self) -> tuple[memoryview, Sequence[int]]:
        """The next piece to write: one frame, or small ones together as far as no descriptors are among them."""
        data, fds = self._backlog.popleft()
        size = len(data)
        if fds or not self._backlog or size >= JOINED_MAX:
            return data, fds
        pieces = [data]
        while self._backlog and not self._backlog[0][1] and size < JOINED_MAX:
            pieces.append(self._backlog.popleft()[0])
            size += len(pieces[-1])
        return memoryview(b"".join(pieces)), ()


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
