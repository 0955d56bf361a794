"""Looks for jobs that a rate holds back: as many as find something, and one more."""

from __future__ import annotations

import asyncio

from stoker.model.job import Claimed, Overrides
from stoker.router.jobs.rates import Rates
from stoker.store.base import Quota

OFTEN = Quota("shop.often", 1, interval=0.001)
SELDOM = Quota("shop.seldom", 1, interval=3600.0)
WITHIN = 20.0


def started(quota: Quota) -> Claimed:
    return Claimed(1, "1", quota.command, b"{}", 1, 1, None, (), Overrides(), 0.0)


def test_they_go_on_while_they_find_something_and_then_nobody_is_asked() -> None:

    async def within() -> None:
        waiting, looks, done = 3, 0, asyncio.Event()

        def look(commands: set[str]) -> None:
            nonlocal waiting, looks
            assert commands == {OFTEN.command}
            looks += 1
            rates.claimed([OFTEN], [started(OFTEN)] if waiting else [])
            if waiting:
                waiting -= 1
            else:
                done.set()

        rates = Rates(look)
        rates.claimed([OFTEN], [started(OFTEN)])
        await asyncio.wait_for(done.wait(), WITHIN)
        assert (waiting, looks, rates._timer) == (0, 4, None)

    asyncio.run(within())


def test_a_look_by_somebody_else_that_finds_nothing_is_followed_by_one() -> None:
    """Another node may have started the last one, and what came here just now has to wait for that."""

    async def within() -> None:
        done = asyncio.Event()
        rates = Rates(lambda _: done.set())
        rates.claimed([OFTEN], [])
        await asyncio.wait_for(done.wait(), WITHIN)
        rates.claimed([OFTEN], [])
        assert rates._timer is None

    asyncio.run(within())


def test_a_long_interval_does_not_put_off_a_short_one() -> None:

    async def within() -> None:
        found: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
        rates = Rates(found.set_result)
        rates.claimed([OFTEN], [started(OFTEN)])
        rates.claimed([SELDOM], [started(SELDOM)])
        assert await asyncio.wait_for(found, WITHIN) == {OFTEN.command}
        rates.stop()
        assert rates._timer is None

    asyncio.run(within())
