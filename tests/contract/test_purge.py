"""purge: what is kept no longer goes, in small bites; what has not ended never goes."""

from __future__ import annotations

import pytest

from stoker.model.errors import UnknownJob
from stoker.model.event import EventKind, NewEvent
from stoker.model.job import Claimed, State, Submitted, Unique
from stoker.store.base import Filter, Report, Store
from tests.contract.make import cancelled, done, failed, finish, held, job, put, take, take_one
from tests.contract.places import Place

DAY = 86400.0


async def say(store: Store, claimed: Claimed, count: int = 1) -> None:
    events = tuple(NewEvent(EventKind.LOG, store.now(), b"1") for _ in range(count))
    assert await store.report([Report(claimed.seq, claimed.fence, events)]) == [True]


async def test_ended_jobs_go_when_they_are_old_enough(store: Store, place: Place) -> None:
    await put(store, *(job(id=id) for id in "abc"), job(id="newest"))
    for ending in (done, failed, cancelled):
        claimed = await take_one(store)
        await say(store, claimed)
        await store.settle([ending(claimed)])
        place.advance(DAY)
    assert await store.purge(10 * DAY, 10 * DAY) == 0
    assert await store.purge(2.5 * DAY, 10 * DAY) == 1
    with pytest.raises(UnknownJob):
        await store.get("a")
    assert await listed(store) == ["newest", "c", "b"]
    assert await store.purge(0.5 * DAY, 10 * DAY) == 2
    assert await listed(store) == ["newest"]


async def listed(store: Store) -> list[str]:
    return [found.id for found in await store.jobs(Filter(limit=100))]


async def test_the_age_is_that_of_the_end(store: Store, place: Place) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    place.advance(100 * DAY)
    await store.renew("boot-1", 30.0, held(claimed))
    await finish(store, claimed)
    assert await store.purge(DAY, DAY) == 0
    assert (await store.get("a")).state is State.COMPLETED


async def test_what_has_not_ended_is_never_purged(store: Store, place: Place) -> None:
    now = store.now()
    await put(store, job(id="run"), job("app.other", id="new"), job(id="later", run_at=now + 1e9))
    await put(store, job(id="hold", key="app.work:k"), job(id="held", key="app.work:k"))
    claimed = await take_one(store)
    await say(store, claimed)
    place.advance(1000 * DAY)
    assert await store.purge(1.0, 1.0) == 0
    assert sorted(await listed(store)) == ["held", "hold", "later", "new", "run"]
    assert len(await store.events("run")) == 1


async def test_a_retried_job_is_not_old_any_more(store: Store, place: Place) -> None:
    await put(store, job(id="a"))
    await finish(store, await take_one(store))
    place.advance(10 * DAY)
    await store.retry("a")
    assert await store.purge(DAY, DAY) == 0
    await finish(store, await take_one(store))
    assert await store.purge(DAY, DAY) == 0


async def test_it_takes_small_bites_until_nothing_is_left(store: Store, place: Place) -> None:
    await put(store, *(job() for _ in range(25)))
    await finish(store, *await take(store))
    await put(store, job(id="newest"))
    place.advance(DAY)
    bites = [await store.purge(1.0, 10 * DAY, limit=10)]
    while bites[-1] >= 10:
        bites.append(await store.purge(1.0, 10 * DAY, limit=10))
    assert sum(bites) == 25
    assert place.slack or bites == [10, 10, 5]
    assert await listed(store) == ["newest"]


async def test_events_of_ended_jobs_go_before_the_jobs(store: Store, place: Place) -> None:
    await put(store, job(id="a"), job(id="b"))
    first, second = await take_one(store), await take_one(store)
    await say(store, first, 5)
    await say(store, second, 5)
    await finish(store, first)
    place.advance(2 * DAY)
    bites = [await store.purge(10 * DAY, DAY, limit=3) for _ in range(3)]
    assert sum(bites) == 5
    assert place.slack or bites == [3, 2, 0]
    assert await store.events("a") == []
    assert len(await store.events("b")) == 5
    assert (await store.get("a")).state is State.COMPLETED


async def test_a_job_that_never_ends_does_not_keep_the_events_of_all_others(store: Store, place: Place) -> None:
    await put(store, job(id="endless"), job(id="a"))
    endless, other = await take_one(store), await take_one(store)
    await say(store, endless, 50_100)
    await say(store, other, 10)
    await finish(store, other)
    place.advance(2 * DAY)
    gone = 0
    for _ in range(20):
        gone += await store.purge(10 * DAY, DAY)
    assert gone == 10
    assert await store.events("a") == []


async def test_a_purged_job_gives_its_id_and_its_unique_key_back(store: Store, place: Place) -> None:
    window = Unique(key="k", window=100 * DAY)
    await put(store, job(id="a", unique=window))
    await finish(store, await take_one(store))
    await put(store, job(id="newest"))
    place.advance(2 * DAY)
    assert await store.purge(DAY, DAY) == 1
    assert await store.submit([job(id="a", input=b"2", unique=window)]) == [Submitted("a", True)]
    assert [claimed.id for claimed in await take(store)] == ["newest", "a"]


async def test_a_late_ending_of_a_purged_job_ends_no_other(store: Store, place: Place) -> None:
    """A place in the line is never given twice, or an old number and an old fence would fit a new job."""
    await put(store, job(id="a"))
    late = await take_one(store)
    await store.settle([failed(late)])
    place.advance(DAY)
    await store.purge(1.0, 1.0)
    await put(store, job(id="b"))
    new = await take_one(store)
    assert await store.settle([done(late)]) == [False]
    assert await store.report([Report(late.seq, late.fence, (NewEvent(EventKind.LOG, 1.0, b"1"),))]) == [False]
    await finish(store, new)


async def test_an_event_is_never_before_a_cursor_that_was_given_out(store: Store, place: Place) -> None:
    """Also after everything older was purged: whoever reads on from a cursor misses nothing."""
    await put(store, job(id="a"))
    claimed = await take_one(store)
    await say(store, claimed, 3)
    cursor = (await store.events("a"))[-1].seq
    await finish(store, claimed)
    place.advance(DAY)
    await store.purge(10 * DAY, 1.0)
    await store.retry("a")
    await say(store, await take_one(store))
    assert len(await store.events("a", cursor)) == 1
