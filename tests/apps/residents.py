"""Commands without an isolation of their own: with `--max-tasks` they share one resident."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from pathlib import Path

from stoker import Context, Product
from tests.apps.kit import append, hold

res = Product("res")


async def gate_opens(gate: str) -> None:
    append(f"{gate}.here", str(os.getpid()))
    while not Path(f"{gate}.gate").exists():
        await asyncio.sleep(0.005)


@res.command
async def sleeper(gate: str) -> int:
    append("running.txt", "+")
    try:
        await gate_opens(gate)
    finally:
        append("running.txt", "-")
    return os.getpid()


@res.command
async def quick(number: int) -> list[int]:
    await asyncio.sleep(0)
    return [number, os.getpid()]


@res.command
def plain(number: int) -> list[int]:
    return [number, os.getpid(), threading.get_ident()]


@res.command
def plain_wait(gate: str) -> int:
    hold(gate)
    return threading.get_ident()


@res.command
async def meets(me: str, other: str) -> str:
    """Two handlers that need each other: they only end if they overlap."""
    append(f"{me}.gate", "")
    await gate_opens(other)
    return me


@res.command(isolation="fork")
def apart() -> int:
    return os.getpid()


@res.command
async def dies() -> None:
    os._exit(3)


@res.command
async def fails() -> None:
    raise LookupError("in a coroutine")


warm: list[int] = []


@res.command
async def counts(ctx: Context) -> int:
    """State that stays warm from job to job."""
    warm.append(ctx.attempt)
    return len(warm)


@res.command
async def blocks() -> int:
    """A coroutine that holds the loop up, as it should not."""
    return sum(range(10**15))


@res.command
async def descriptors() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)
