"""Receiving descriptors: bytes and what came beside them, bounded, with nothing left open by mistake."""

from __future__ import annotations

import array
import fcntl
import os
import socket
from collections.abc import Iterable

from stoker.model.errors import InvalidBuffer

BUFFERS_MAX = 16
"""Descriptors beside one message at most."""
# plain numbers: the flags of the socket module are enums, and putting those together takes longer than to receive
FLAGS = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
TRUNCATED = int(socket.MSG_CTRUNC)
_SPACE = socket.CMSG_SPACE(BUFFERS_MAX * array.array("i").itemsize)


def receive(sock: socket.socket, size: int, flags: int = 0) -> tuple[bytes, list[int]]:
    """Read bytes, and the descriptors that came with them; those are the caller's.

    Raises :class:`InvalidBuffer` when some did not get through: there were more than may come at once, or this process
    has no descriptors left.
    """
    data, extra, told, _ = sock.recvmsg(size, _SPACE, int(flags) | FLAGS)
    if not extra and not told & TRUNCATED:
        return data, []
    fds = array.array("i")
    for level, kind, payload in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if told & TRUNCATED:
        close_all(fds)
        raise InvalidBuffer(
            f"descriptors were lost: {BUFFERS_MAX} are the most at once, and the receiver must have so many to spare"
        )
    return data, list(fds)


def duplicates(fds: Iterable[int]) -> list[int]:
    """Further descriptors of the same files, to be given away."""
    made: list[int] = []
    try:
        for fd in fds:
            made.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))
    except BaseException:
        close_all(made)
        raise
    return made


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
