"""When the next worker may be made, after so many that died at their start."""

from __future__ import annotations

import asyncio

from stoker.router.pools.deaths import BROKEN_AGAIN, Deaths


def test_pauses_grow_until_the_pool_is_broken() -> None:
    async def go() -> None:
        deaths = Deaths()
        assert (deaths.left, deaths.told("images")) == (None, None)
        found = []
        for number in range(7):
            found.append((deaths.add(f"problem {number}"), deaths.broken))
        assert found == [(0.0, False), (1.0, False), (5.0, False), (15.0, False), *[(BROKEN_AGAIN, True)] * 3]
        told = str(deaths.told("images"))
        assert told.startswith("the pool images is broken: problem 6; tried again in ")
        assert deaths.left is not None
        deaths.over()
        assert deaths.told("images") is None
        assert deaths.broken
        deaths.forget()
        assert (deaths.count, deaths.broken, deaths.add("again")) == (0, False, 0.0)
        assert deaths.left is None, "after the first death another is made at once"
        deaths.add("once more")
        assert str(deaths.told("images")).startswith("the workers of images die: once more; the next one is made in ")

    asyncio.run(go())
