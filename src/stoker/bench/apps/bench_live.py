"""Jobs that the daemon of the bench runs for browsers to look at."""

from __future__ import annotations

import asyncio
import time

from stoker import Context, Product

live = Product("live", isolation="async", workers=2, slots=100)


@live.command
async def emits(count: int, pause: float, ctx: Context) -> None:
    """Events that say when they were made."""
    for _ in range(count):
        await asyncio.sleep(pause)
        ctx.emit("made", time.time())


@live.command
async def chunks(count: int, rate: float, ctx: Context) -> None:
    """Numbered pieces at an even rate."""
    begun = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
        ctx.stream.write(number)
