"""A page of memory that a worker shares with the router: where it is, written without a system call.

A worker tells the ends of fast jobs several at a time. When it is killed, the page still says which run it was at, so
the router knows which of its jobs had begun and which had not.

And the other way round: what waits in a worker that is busy in C, and hears nothing, is taken back through the page.

    worker   says which run it begins, then looks whether that is taken back
    router   says what is taken back, waits :data:`SEEN_AFTER`, then looks which run the worker is at

Whatever the worker began without seeing the word, the router sees by then; what it has not begun by then, it never
will. The wait takes the place of a memory fence, which Python has not: a store is seen by other processors within
microseconds.
"""

from __future__ import annotations

import mmap
import os
import tempfile

SIZE = mmap.PAGESIZE
RUN, DONE, KEPT, TAKEN_BACK = range(4)
SEEN_AFTER = 0.01
"""Seconds after which the other side has surely seen what was written."""


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

    def take_back(self, kept: int, last: int) -> None:
        """Of all that was assigned up to the ``last``, counted from 1, only the run ``kept`` may begin."""
        self._cells[KEPT] = kept
        self._cells[TAKEN_BACK] = last

    def is_taken_back(self, number: int, run: int) -> bool:
        """Whether a run, the ``number``-th that was assigned, must not begin."""
        return number <= self._cells[TAKEN_BACK] and run != self._cells[KEPT]

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
