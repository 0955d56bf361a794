"""What only a resident itself knows: how much memory its Python holds, and how much of the time its loop waits.

Nothing is measured on a job's way. The loop's waiting is timed where it waits, the heap is read when somebody asks.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import selectors
import time
from collections.abc import Callable
from typing import Any

from stoker.wire.channel import Channel
from stoker.wire.frames import Inspect, Vitals


class Mallinfo(ctypes.Structure):
    """``struct mallinfo2`` of malloc.h (glibc 2.33 and later)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


_libc: Any = ctypes.CDLL(None)
_small: Any = getattr(ctypes.pythonapi, "_PyObject_DebugMallocStats", None)
"""What ``sys._debugmallocstats()`` writes to stderr, for any stream: nothing else tells what the small blocks take."""
_USED = re.compile(rb"^# bytes in allocated blocks +=\s+([\d,]+)", re.M)
_TOTAL = re.compile(rb"^\d+ arenas \* \d+ bytes/arena +=\s+([\d,]+)", re.M)


def heap() -> tuple[int, int] | None:
    """Bytes in use by Python objects and everything else that was allocated here, and bytes that the allocators hold
    from the system for them; None where the C library does not tell. Takes well under a millisecond."""
    if not hasattr(_libc, "mallinfo2"):
        return None
    _libc.mallinfo2.restype = Mallinfo
    large = _libc.mallinfo2()
    used, total = _small_blocks()
    return large.uordblks + large.hblkhd + used, large.arena + large.hblkhd + total


def _small_blocks() -> tuple[int, int]:
    """The same of Python's allocator for small objects, whose memory malloc knows nothing of."""
    if _small is None:
        return 0, 0
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    _libc.open_memstream.restype = ctypes.c_void_p
    stream = _libc.open_memstream(ctypes.byref(text), ctypes.byref(size))
    if not stream:
        return 0, 0
    _small(ctypes.c_void_p(stream))
    _libc.fclose(ctypes.c_void_p(stream))
    found = ctypes.string_at(text, size.value) if text.value else b""
    _libc.free(text)
    return _number(_USED, found), _number(_TOTAL, found)


def _number(pattern: re.Pattern[bytes], text: bytes) -> int:
    found = pattern.search(text)
    return 0 if found is None else int(found[1].replace(b",", b""))


class Waiting:
    """Time spent with nothing to do."""

    def __init__(self) -> None:
        self.seconds = 0.0


class Selector(selectors.DefaultSelector):
    """The event loop's selector, that times how long the loop waits; while there is something to do, no clock is
    read."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Waiting()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        begun = time.monotonic()
        try:
            return super().select(timeout)
        finally:
            self.waiting.seconds += time.monotonic() - begun


class Doctor:
    """Answers the router's Inspect. ``active`` says how many jobs are in their handlers, ``waiting`` how long the loop
    had nothing to do, if that is timed."""

    def __init__(self, channel: Channel, active: Callable[[], int], waiting: Waiting | None = None) -> None:
        self._channel = channel
        self._active = active
        self._waiting = waiting
        self._begun = time.monotonic()

    def hear(self, frame: Any) -> None:
        """A frame that is no job's."""
        if isinstance(frame, Inspect):
            with contextlib.suppress(OSError):  # the router is gone; whoever reads next is told
                self._channel.send(self.vitals())

    def vitals(self) -> Vitals:
        used, total = heap() or (None, None)
        waited = None if self._waiting is None else self._waiting.seconds
        return Vitals(self._active(), used, total, time.monotonic() - self._begun, waited)
