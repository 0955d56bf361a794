"""Memory files: anonymous, of one size for good, and checked before they are mapped."""

from __future__ import annotations

import fcntl
import os
import stat

from stoker.model.errors import InvalidBuffer

SEALS = getattr(fcntl, "F_SEAL_SHRINK", 0) | getattr(fcntl, "F_SEAL_GROW", 0)
"""The size stays as it is, whoever holds the descriptor."""
SENDFILE_MAX = 1 << 30


def fill(fd: int, data: memoryview) -> int:
    """Write all of it; its size."""
    done = 0
    while done < len(data):
        done += os.write(fd, data[done:])
    return done


def copy(fd: int, source: int) -> int:
    """Write what is in another file, which the kernel copies; its size."""
    while os.sendfile(fd, source, None, SENDFILE_MAX):
        pass
    return os.fstat(fd).st_size


def check(fd: int, size: int | None = None) -> int:
    """Whether a descriptor may be mapped as a Buffer of ``size`` bytes; its size. Raises :class:`InvalidBuffer`."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidBuffer("the descriptor is no memory file (memfd)")
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise InvalidBuffer("the descriptor is a file that cannot be sealed, not a memory file (memfd)") from None
    if seals & SEALS != SEALS:
        raise InvalidBuffer("the memory file is not sealed against shrinking and growing")
    if size is not None and found.st_size != size:
        raise InvalidBuffer(f"the memory file has {found.st_size} bytes, and {size} were announced")
    return found.st_size


def create() -> int:
    """A new one, empty and not sealed yet. Raises :class:`InvalidBuffer` where there are none."""
    if not hasattr(os, "memfd_create"):
        raise InvalidBuffer("Buffers need Linux (memfd_create)")
    return os.memfd_create("stoker-buffer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def why(error: BaseException) -> str:
    """What the system says of an error."""
    return getattr(error, "strerror", None) or str(error)
