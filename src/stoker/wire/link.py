"""The same frames on an event loop: the router's side of a channel.

Thinner than a transport, because the router makes one for every job: a reader callback, and a send that writes at once.
What is sent after that in the same turn of the loop, and while the other side is slow, waits and is written together:
under load a hundred jobs are one write. Descriptors can be sent with a frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from stoker.model.errors import InvalidBuffer
from stoker.wire import frames, rights
from stoker.wire.outgoing import Outgoing
from stoker.wire.rights import close_all

CHUNK = 1 << 18


class Link(Outgoing):
    """``on_frames`` gets the frames that came together, in order; ``on_close`` is called once, when the other side is
    gone or talks nonsense. With ``descriptors`` those that come beside frames are kept for :meth:`take_fds`; else the
    kernel drops them."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        family: frames.Family,
        on_frames: Callable[[list[Any]], None],
        on_close: Callable[[], None],
        *,
        descriptors: bool = False,
    ) -> None:
        super().__init__(loop, sock)
        self._decoder = frames.Decoder(family)
        self._on_frames = on_frames
        self._on_close = on_close
        self._descriptors = descriptors
        self._fds: deque[int] = deque()
        loop.add_reader(sock.fileno(), self._read)

    @property
    def closed(self) -> bool:
        return self._sock is None

    def send(self, frame: Any, fds: Sequence[int] = ()) -> None:
        """Send in order; once closed, nothing is sent. The descriptors are given away: closed here when they are sent
        or cannot be."""
        self._put(frames.encode((frame,)), fds)

    def send_all(self, some: Sequence[Any]) -> None:
        """Send several in order, put together."""
        self._put(frames.encode(some), ())

    def take_fds(self, count: int) -> list[int]:
        """The descriptors of the frame at hand, in order; the receiver owns them. Raises ValueError when there are not
        so many."""
        if count > len(self._fds):
            raise ValueError(f"{count} descriptors were announced, and {len(self._fds)} came")
        return [self._fds.popleft() for _ in range(count)]

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
        self._drop()
        while self._fds:
            close_all((self._fds.popleft(),))
        self._on_close()

    def _broken(self) -> None:
        # who is gone may have said something before: that is still there to read, and the end comes after it
        while self._backlog:
            close_all(self._backlog.popleft()[1])
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)

    def _read(self) -> None:
        while self._sock is not None:
            try:
                if self._descriptors:
                    data, fds = rights.receive(self._sock, CHUNK)
                    self._fds.extend(fds)
                else:
                    data = self._sock.recv(CHUNK)
            except BlockingIOError:
                return
            except (OSError, InvalidBuffer):
                data = b""
            if not data:
                self.close()
                return
            try:
                found = self._decoder.feed(data)
            except (ValueError, RecursionError):
                self.close()
                return
            if found:
                self._on_frames(found)
            if len(data) < CHUNK and not self._fds:
                return
