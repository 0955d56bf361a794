"""A worker with threads of which one keeps all others from running."""

from __future__ import annotations

import ctypes
import os

from stoker import Product
from tests.apps.kit import append, hold

threads = Product("threads", isolation="thread", workers=1, slots=2)


@threads.command
def grips(fifo: str) -> int:
    """Holds the interpreter, as bad C code does, until something can be read."""
    fd = os.open(fifo, os.O_RDONLY)
    append("grips.here", str(os.getpid()))
    try:
        ctypes.PyDLL(None).read(fd, ctypes.create_string_buffer(1), 1)
    finally:
        os.close(fd)
    return os.getpid()


@threads.command
def holds(gate: str) -> None:
    hold(gate)


@threads.command
def who() -> int:
    return os.getpid()
