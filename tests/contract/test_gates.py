"""Concurrency keys (M5): never more holders than allowed, never an idle slot, never a slot lost or given twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stoker.model.job import Claimed, Submission, Waits
from stoker.store.base import Settlement, Store
from tests.contract.make import again, cancelled, done, failed, finish, job, put, take, take_one
from tests.contract.places import Place

KEY = "app.work:k"


def keyed(id: str | None = None, limit: int = 1, **more: Any) -> Submission:
    return job(id=id, key=KEY, key_limit=limit, **more)


async def waits(store: Store, *ids: str) -> list[Waits]:
    return [(await store.get(id)).waits for id in ids]


async def test_the_second_waits_for_the_first(store: Store) -> None:
    await put(store, keyed("a"), keyed("b"), job(id="free"))
    assert await waits(store, "a", "b", "free") == [Waits.SLOT, Waits.KEY, Waits.SLOT]
    assert await store.holders(KEY) == ["a"]
    assert [one.id for one in await take(store)] == ["a", "free"]
    assert await take(store) == []


async def test_keys_do_not_meet(store: Store) -> None:
    await put(store, job(id="a", key="app.work:a"), job(id="b", key="app.work:b"))
    assert [one.id for one in await take(store)] == ["a", "b"]
    assert await store.holders("app.work:a") == ["a"]
    assert await store.holders("app.work:nobody") == []


@pytest.mark.parametrize("ending", [done, failed, cancelled])
async def test_an_end_lets_the_next_one_in(store: Store, ending: Callable[[Claimed], Settlement]) -> None:
    await put(store, keyed("a"), keyed("b"), keyed("c"))
    assert await store.settle([ending(await take_one(store))]) == [True]
    assert await waits(store, "b", "c") == [Waits.SLOT, Waits.KEY]
    assert [one.id for one in await take(store)] == ["b"]


async def test_going_back_to_wait_for_a_later_time_lets_the_next_one_in(store: Store, place: Place) -> None:
    await put(store, keyed("a"), keyed("b"))
    claimed = await take_one(store)
    assert await store.settle([again(claimed, store.now() + 10)]) == [True]
    assert (await take_one(store)).id == "b"
    place.advance(10.0)
    await store.promote()
    assert await waits(store, "a") == [Waits.KEY]
    assert await take(store) == []


async def test_going_back_at_once_keeps_the_slot(store: Store) -> None:
    await put(store, keyed("a"), keyed("b"))
    claimed = await take_one(store)
    assert await store.settle([again(claimed, store.now())]) == [True]
    assert await store.holders(KEY) == ["a"]
    assert [one.id for one in await take(store)] == ["a"]


async def test_a_limit_of_three_holds_three(store: Store) -> None:
    await put(store, *(keyed(f"j{number}", limit=3) for number in range(7)))
    first = await take(store)
    assert [one.id for one in first] == ["j0", "j1", "j2"]
    await finish(store, first[1])
    assert await store.holders(KEY) == ["j0", "j2", "j3"]
    assert [one.id for one in await take(store)] == ["j3"]


async def test_solid_queue_2124a51_many_ends_at_once_do_not_raise_the_limit(store: Store) -> None:
    await put(store, *(keyed(f"j{number}", limit=3) for number in range(9)))
    await finish(store, *await take(store))
    assert len(await store.holders(KEY)) == 3
    assert len(await take(store)) == 3
    assert len(await store.holders(KEY)) == 3


async def test_solid_queue_456_a_job_that_comes_as_the_holder_ends_is_not_stranded(store: Store, place: Place) -> None:
    other = await place.open()
    for _ in range(30):
        await put(store, keyed())
        claimed = await take_one(store)
        await asyncio.gather(store.settle([done(claimed)]), other.submit([keyed()]), store.submit([keyed()]))
        for _ in range(2):
            await finish(store, await take_one(store))
        assert (await store.counts()).held == 0


async def test_the_higher_priority_is_let_in_first(store: Store) -> None:
    await put(
        store, keyed("holder"), keyed("low", priority=-1), keyed("high", priority=5), keyed("high-too", priority=5)
    )
    order = []
    for _ in range(4):
        claimed = await take_one(store)
        order.append(claimed.id)
        await finish(store, claimed)
    assert order == ["holder", "high", "high-too", "low"]


async def test_a_delayed_job_takes_up_no_slot_until_it_is_due(store: Store, place: Place) -> None:
    await put(store, keyed("later", run_at=store.now() + 10))
    assert await store.holders(KEY) == []
    await put(store, keyed("now"))
    claimed = await take_one(store)
    assert claimed.id == "now"
    place.advance(10.0)
    await store.promote()
    assert await take(store) == []
    await finish(store, claimed)
    assert (await take_one(store)).id == "later"


async def test_many_that_fall_due_at_once_respect_the_limit(store: Store, place: Place) -> None:
    await put(store, *(keyed(f"j{number}", limit=2, run_at=store.now() + 1) for number in range(6)))
    place.advance(1.0)
    await store.promote()
    assert len(await store.holders(KEY)) == 2
    assert len(await take(store)) == 2


@pytest.mark.parametrize("leave", ["cancel", "expire", "orphan"])
async def test_a_holder_that_never_began_lets_the_next_one_in_too(store: Store, place: Place, leave: str) -> None:
    holder = Submission(id="a", command="app.odd", input=b"{}", key=KEY, expires=10.0)
    await put(store, holder, keyed("b"))
    place.advance(11.0)
    match leave:
        case "cancel":
            await store.cancel("a", "not wanted")
        case "expire":
            assert await store.expire() == ["a"]
        case "orphan":
            assert await store.orphan(["app.work"]) == ["a"]
    assert await store.holders(KEY) == ["b"]
    assert [one.id for one in await take(store)] == ["b"]


async def test_a_waiting_one_that_leaves_gives_no_slot_away(store: Store) -> None:
    await put(store, keyed("a"), keyed("b"), keyed("c"))
    await store.cancel("b", "not wanted")
    assert await store.holders(KEY) == ["a"]
    assert await waits(store, "c") == [Waits.KEY]


async def test_a_retried_job_stands_in_line_again(store: Store) -> None:
    await put(store, keyed("a"), keyed("b"))
    await finish(store, await take_one(store))
    await take_one(store)
    await store.retry("a")
    assert await waits(store, "a") == [Waits.KEY]
    assert await store.holders(KEY) == ["b"]


async def test_a_retried_job_goes_in_where_there_is_room(store: Store) -> None:
    await put(store, keyed("a"))
    await finish(store, await take_one(store))
    await store.retry("a")
    assert await store.holders(KEY) == ["a"]
    assert (await take_one(store)).id == "a"


async def test_a_dead_holders_slot_comes_back_once(store: Store, place: Place) -> None:
    """C3: two that find the same dead attempt free one slot, not two."""
    await put(store, keyed("a"), keyed("b"), keyed("c"))
    await take_one(store)
    place.advance(31.0)
    (first,) = await store.abandoned("boot-1")
    (second,) = await (await place.open()).abandoned("boot-1")
    results = await asyncio.gather(store.settle([failed(first)]), store.settle([failed(second)]))
    assert sorted(results) == [[False], [True]]
    assert await store.holders(KEY) == ["b"]
    assert [one.id for one in await take(store)] == ["b"]


async def test_a_refused_end_frees_nothing(store: Store) -> None:
    await put(store, keyed("a"), keyed("b"))
    claimed = await take_one(store)
    await finish(store, claimed)
    assert await store.settle([done(claimed)]) == [False]
    assert await store.holders(KEY) == ["b"]
