"""Products whose workers are measured: busy, idle, blocked, grown and failing ones."""

from __future__ import annotations

import asyncio
import os
import time

from stoker import Product
from tests.apps.kit import append, hold

images = Product("images", isolation="process", workers=1)
quiet = Product("quiet", isolation="process", workers=1)
loops = Product("loops", isolation="async", workers=1, slots=100)
threads = Product("threads", isolation="thread", workers=1, slots=4)
plain = Product("plain")
_kept: list[object] = []


@images.command
def spin(gate: str) -> None:
    """Busy until the gate opens."""
    append(f"{gate}.here", str(os.getpid()))
    while not os.path.exists(f"{gate}.gate"):
        sum(range(20_000))


@images.command
def grow(megabytes: int, gate: str) -> None:
    """Large blocks and small ones, half of each, and then wait."""
    _kept.append(bytearray(megabytes << 19))
    _kept.append([bytes(479) for _ in range(megabytes << 10)])
    hold(gate)
    _kept.clear()


@images.command
def nothing() -> None: ...


@loops.command
async def half(gate: str) -> None:
    """Half of the time the loop is held up."""
    append(f"{gate}.here", str(os.getpid()))
    while not os.path.exists(f"{gate}.gate"):
        time.sleep(0.04)
        await asyncio.sleep(0.04)


@loops.command
async def waits(gate: str) -> None:
    append(f"{gate}.here", str(os.getpid()))
    while not os.path.exists(f"{gate}.gate"):
        await asyncio.sleep(0.05)


@loops.command
async def coin(number: int) -> int:
    await asyncio.sleep(0)
    if number % 2:
        raise ValueError("odd")
    return number


@threads.command
def held(gate: str) -> None:
    hold(gate)


@plain.command
def takes(seconds: float) -> None:
    time.sleep(seconds)


@plain.command
def fails() -> None:
    raise ValueError("no")


@plain.command
def gated(gate: str) -> None:
    hold(gate)
