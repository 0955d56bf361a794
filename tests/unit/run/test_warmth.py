"""The warm state of a product in a worker whose jobs are tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from stoker import Product
from stoker.run.warm import Warmth


def test_jobs_that_come_together_have_it_made_once() -> None:
    made = []
    product = Product("sessions")

    @product.resident
    async def session() -> AsyncIterator[int]:
        made.append("start")
        await asyncio.sleep(0)
        yield len(made)
        made.append("stop")

    async def jobs() -> list[int]:
        warmth, hook = Warmth(), product.start_hook()
        assert hook is not None
        found = await asyncio.gather(*(warmth.avalue(product, hook) for _ in range(5)))
        await warmth.aclose()
        return found

    assert asyncio.run(jobs()) == [1] * 5
    assert made == ["start", "stop"]
