"""What the daemon of the bench runs in workers that stay."""

from __future__ import annotations

import asyncio
import mmap
import time
from functools import cache
from pathlib import Path

from stoker import Buffer, Product

MARKS = Path(__file__).with_name("marks")
"""Doubles, one for each job that was sent under load: the seconds until it began."""
NAP = 0.1

warm = Product("warm", isolation="process", workers=2)
naps = Product("naps", isolation="async", workers=1, slots=500)


@warm.command
def noop(number: int) -> None:
    """Nothing, with an input that is checked."""


@warm.command
def clock() -> float:
    """When the handler was entered."""
    return time.time()


@warm.command
def mark(place: int, sent: float) -> None:
    """Note how long it took from there to here."""
    _marks()[place] = time.time() - sent


@cache
def _marks() -> memoryview:
    with MARKS.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("d")


@warm.command
def size(data: Buffer) -> int:
    """Take it, and do nothing with it."""
    return len(data)


@warm.command
def read(data: Buffer) -> int:
    """Look at every byte."""
    return int(data.find(b"\x01"))


@naps.command
async def nap() -> None:
    await asyncio.sleep(NAP)
