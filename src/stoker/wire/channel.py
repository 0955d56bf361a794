"""A blocking channel of frames over a socket: the side of the zygote and of the processes that run jobs."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from stoker.model.errors import InvalidBuffer
from stoker.wire import frames, rights

CHUNK = 1 << 16


class Channel:
    """Sends and receives frames, file descriptors beside them; receives those only with ``descriptors``.

    Sending is safe from any thread; receiving belongs to one thread at a time. :meth:`receive` returns None when the
    other side is gone.
    """

    def __init__(self, sock: socket.socket, family: frames.Family, *, descriptors: bool = False) -> None:
        self._sock = sock
        self._descriptors = descriptors
        self._decoder = frames.Decoder(family)
        self._ready: deque[Any] = deque()
        self._fds: deque[int] = deque()
        self._lock = threading.Lock()
        self._look = threading.Lock()
        self._open = True

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, frame: Any, fds: Sequence[int] = ()) -> None:
        """Descriptors are lent: the sender still has to close them. Raises OSError when nobody is there any more."""
        data = frames.encode((frame,))
        with self._lock:
            if fds:
                data = data[socket.send_fds(self._sock, [data], list(fds)) :]
            self._sock.sendall(data)

    def send_all(self, some: Sequence[Any]) -> None:
        """Send frames with one write. Raises OSError when nobody is there any more."""
        with self._lock:
            self._sock.sendall(frames.encode(some))

    def receive(self) -> Any | None:
        """The next frame; waits for it."""
        while not self._ready:
            if not self._open or not self._fill(0):
                return None
        return self._ready.popleft()

    def waiting(self) -> list[Any]:
        """The frames that are there now, without waiting. Two threads that look at once do it one after the other."""
        with self._look:
            while self._open and self._readable():
                if not self._fill(socket.MSG_DONTWAIT):
                    break
            found = list(self._ready)
            self._ready.clear()
        return found

    @property
    def closed(self) -> bool:
        """Whether the other side was seen to be gone."""
        return not self._open

    def take_fds(self, count: int) -> list[int]:
        """Descriptors that came with the frames so far, in order; the receiver owns them. Raises ValueError when there
        are not so many."""
        if count > len(self._fds):
            raise ValueError(f"{count} descriptors were announced, and {len(self._fds)} came")
        return [self._fds.popleft() for _ in range(count)]

    def close(self) -> None:
        self._open = False
        self._sock.close()
        while self._fds:
            os.close(self._fds.popleft())

    def _readable(self) -> bool:
        # poll, not select: descriptors above 1023 are normal in a busy daemon
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def _fill(self, flags: int) -> bool:
        try:
            data = self._receive_with_fds(flags) if self._descriptors else self._sock.recv(CHUNK, flags)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            data = b""
        if not data:
            self._open = False
            return False
        found = self._decoder.feed(data)
        if self._fds:
            for frame in found:
                self._arrived(frame)
        self._ready.extend(found)
        return True

    def _arrived(self, frame: Any) -> None:
        """A frame is there, and descriptors that may be its own."""

    def _receive_with_fds(self, flags: int) -> bytes:
        try:
            data, fds = rights.receive(self._sock, CHUNK, flags)
        except InvalidBuffer as error:
            raise ConnectionResetError(error.message) from None
        self._fds.extend(fds)
        return data
