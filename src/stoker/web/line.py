"""What our own server tells of a connection beyond ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import sys
import termios
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast, runtime_checkable

from stoker.web.stream import Stream

CONNECTION = "stoker.connection"
HEAD_MAX = 64 << 10
"""Bytes of the head of a request at most."""
HEAD_WITHIN = 10.0
"""Seconds that the head of a request may take to arrive; on the native listener its answer, too."""
WRITE_WITHIN = 5.0
"""Seconds that a browser may take none of what was sent before it is let go."""
LOOK_EVERY = 1.0
FIRST = 1 << 62
"""More than can wait to be sent: at the first look all was taken that is not there."""
SLOW = 0.1
"""Seconds that a browser may take for a write and not be called slow."""
NOT_SENT_MOST = 64 << 10
NOTSENT_LOWAT = 25
"""Of Linux: tcp(7), TCP_NOTSENT_LOWAT."""


class Line(Protocol):
    """The connection of a request."""

    def when_lost(self, call: Callable[[], None]) -> None:
        """Call this as soon as the other side is gone."""

    def unsent(self) -> int:
        """Bytes that the other side has not taken yet."""

    def abort(self) -> None:
        """End it now, whatever was not read yet. Closing would wait for that, and who does not read waits for ever."""


@runtime_checkable
class Carrier(Line, Protocol):
    """A connection that writes a stream by itself, without a task for it."""

    def carry(self, stream: Stream, *, plain: bool) -> None:
        """Take it over, when the head of the answer was sent; the connection closes it, too. ``plain``: of one job, for
        an EventSource that knows nothing of topics."""


def waiting(transport: asyncio.Transport) -> int:
    """Bytes written that the other side has not taken: here, and in the kernel, which may hold far more."""
    sock = transport.get_extra_info("socket")
    left = 0 if sock is None or sock.fileno() < 0 else _left(sock.fileno())
    return transport.get_write_buffer_size() + left


def _left(fd: int) -> int:
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder)
    except OSError:
        return 0


def shorten(transport: asyncio.Transport) -> None:
    """Let the kernel hold little that is not on its way: what is told to a slow browser shall not be old by minutes."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, NOTSENT_LOWAT, NOT_SENT_MOST)


async def sent(connection: Line | None, sending: Awaitable[None]) -> bool:
    """Wait until something is sent; whether the other side kept us waiting. However slow it is, it has as long as it
    needs while it takes anything. Raises TimeoutError when it has taken nothing for :data:`WRITE_WITHIN`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    timer: asyncio.TimerHandle | None = None
    async with asyncio.timeout(WRITE_WITHIN) as limit:

        def look(before: int) -> None:
            nonlocal timer
            assert connection is not None
            now = connection.unsent()
            if now < before:
                limit.reschedule(loop.time() + WRITE_WITHIN)
            timer = loop.call_later(LOOK_EVERY, look, min(now, before))

        if connection is not None:
            timer = loop.call_later(LOOK_EVERY, look, FIRST)
        try:
            await sending
        finally:
            if timer is not None:
                timer.cancel()
    return loop.time() - began > SLOW


def line(scope: Any) -> Line | None:
    """The connection of this scope; None under another server."""
    return cast("Line | None", (scope.get("state") or {}).get(CONNECTION))
