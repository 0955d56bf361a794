"""A listening socket whose connections are taken only while there are descriptors for them.

Event loops go on trying when there is none for the next connection, or turn it away. Here whoever waits in the backlog
is taken when there are some again, and a few are never spent on connections, so that whoever is there already is served
as before: jobs are begun, and files opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Callable

AT_ONCE = 100
PAUSE, PAUSE_MAX = 0.01, 0.5
"""Seconds until new connections are looked at again when there was no descriptor; doubled while there is none."""
RESERVE = 32
"""Descriptors that are kept for other things, or an eighth of a small limit."""


class Acceptor:
    """Stands where an :class:`asyncio.Server` would. ``take`` is given each connection, and owns it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket, take: Callable[[socket.socket], object]
    ) -> None:
        self._loop = loop
        self._listener: socket.socket | None = listener
        self._take = take
        self._held: socket.socket | None = None
        """Who came when there was nothing left but the reserve."""
        self._timer: asyncio.TimerHandle | None = None
        self._wait = PAUSE
        listener.setblocking(False)
        loop.add_reader(listener.fileno(), self._accept)

    def close(self) -> None:
        """Take nobody new; who is there stays."""
        if self._listener is None:
            return
        if self._timer is None:
            self._loop.remove_reader(self._listener.fileno())
        else:
            self._timer.cancel()
        self._listener.close()
        self._listener = None
        if self._held is not None:
            self._held.close()

    async def wait_closed(self) -> None:
        """It is closed when it is told to."""

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if self._listener is None:
                return
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                self._pause()
                return
            if sock.fileno() >= _most():
                self._held = sock
                self._pause()
                return
            self._take(sock)

    def _pause(self) -> None:
        assert self._listener is not None
        self._loop.remove_reader(self._listener.fileno())
        self._look_later()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(self._wait, self._resume)
        self._wait = min(2 * self._wait, PAUSE_MAX)

    def _resume(self) -> None:
        self._timer = None
        if self._listener is None:
            return
        if not _room():
            self._look_later()
            return
        self._wait = PAUSE
        if self._held is not None:
            sock, self._held = self._held, None
            self._take(sock)
        self._loop.add_reader(self._listener.fileno(), self._accept)


def accept(loop: asyncio.AbstractEventLoop, listener: socket.socket, make: Callable[[], asyncio.Protocol]) -> Acceptor:
    """Give each connection a transport of the loop's, and a protocol."""
    tasks: set[asyncio.Task[None]] = set()

    async def connect(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # gone as it came
            await loop.connect_accepted_socket(make, sock)

    def take(sock: socket.socket) -> None:
        sock.setblocking(False)
        task = loop.create_task(connect(sock))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return Acceptor(loop, listener, take)


def _most() -> int:
    """The first descriptor of the reserve; the lowest that is free is always the one that is given."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit - min(RESERVE, limit // 8)


def _room() -> bool:
    """Whether a descriptor would be had that is not of the reserve."""
    try:
        fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(fd)
    return fd < _most()
