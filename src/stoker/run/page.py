"""A page of memory that a worker shares with the router: where it is, written without a system call.

A worker tells the ends of fast jobs several at a time. When it is killed, the page still says which run it was at, so
the router knows which of its jobs had begun and which had not.
"""

from __future__ import annotations

import mmap
import os
import tempfile

SIZE = mmap.PAGESIZE
RUN, DONE = 0, 1


class Page:
    """``run`` is the run begun last, 0 before the first; ``done`` counts the runs that have ended."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, SIZE)
        self._view = memoryview(self._memory)
        self._cells = self._view.cast("Q")

    @property
    def run(self) -> int:
        return self._cells[RUN]

    @property
    def done(self) -> int:
        return self._cells[DONE]

    def begin(self, run: int) -> None:
        self._cells[RUN] = run

    def end(self) -> None:
        self._cells[DONE] += 1

    def close(self) -> None:
        self._cells.release()
        self._view.release()
        self._memory.close()


def new_file() -> int:
    """A descriptor of memory for a page; whoever takes it closes it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("stoker-page", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, SIZE)
    return fd
