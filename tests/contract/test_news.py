"""news and orders: what a daemon asks when it was woken."""

from __future__ import annotations

import pytest

from stoker.model.event import EventKind, NewEvent
from stoker.model.job import Claimed, State
from stoker.store.base import Cursor, News, Report, Store
from tests.contract.make import OWNER, again, cancelled, done, finish, job, put, take_one
from tests.contract.places import Place


async def say(store: Store, claimed: Claimed, *words: str) -> None:
    events = tuple(NewEvent(EventKind.CHUNK, store.now(), f'"{word}"'.encode()) for word in words)
    assert await store.report([Report(claimed.seq, claimed.fence, events)]) == [True]


async def look(store: Store, *cursors: Cursor) -> list[News]:
    return await store.news(cursors)


def words(news: News) -> list[str]:
    return [bytes(event.data).decode().strip('"') for event in news.events]


async def test_each_cursor_has_its_own_answer(store: Store) -> None:
    await put(store, job(id="a"), job(id="b"), job(id="silent"))
    a, b = await take_one(store), await take_one(store)
    await say(store, a, "a1")
    await say(store, b, "b1", "b2")
    await say(store, a, "a2")
    (first,) = await look(store, Cursor("a"))
    assert words(first) == ["a1", "a2"]
    after = first.events[0].seq
    found = await look(store, Cursor("b"), Cursor("a", after), Cursor("silent"), Cursor("a", first.events[1].seq))
    assert [words(news) for news in found] == [["b1", "b2"], ["a2"], [], []]
    assert [news.ended for news in found] == [None] * 4
    assert [event.job for event in found[0].events] == ["b", "b"]


async def test_the_end_comes_with_the_whole_job_and_after_its_last_event(store: Store) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    await say(store, claimed, "1", "2", "3")
    await store.settle([done(claimed, b'"out"')])
    (news,) = await look(store, Cursor("a", limit=2))
    assert (words(news), news.ended) == (["1", "2"], None), "there is more to tell before the end"
    (news,) = await look(store, Cursor("a", news.events[-1].seq, limit=2))
    assert words(news) == ["3"]
    assert news.ended == await store.get("a")
    assert news.ended is not None
    assert (news.ended.state, news.ended.output) == (State.COMPLETED, b'"out"')


async def test_a_limit_of_nothing_asks_only_for_the_end(store: Store) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    await say(store, claimed, "1")
    assert await look(store, Cursor("a", limit=0)) == [News([])]
    await store.settle([cancelled(claimed)])
    (news,) = await look(store, Cursor("a", limit=0))
    assert news.events == []
    assert news.ended is not None


async def test_a_job_that_is_not_there_is_gone(store: Store) -> None:
    await put(store, job(id="a"))
    gone, there = await look(store, Cursor("nobody"), Cursor("a"))
    assert (gone.gone, there.gone) == (True, False)


async def test_asking_nothing_answers_nothing(store: Store) -> None:
    assert await look(store) == []


async def test_a_job_that_was_retried_goes_on_where_it_was(store: Store) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    await say(store, claimed, "one")
    await finish(store, claimed)
    (news,) = await look(store, Cursor("a"))
    await store.retry("a")
    second = await take_one(store)
    await say(store, second, "two")
    (more,) = await look(store, Cursor("a", news.events[-1].seq))
    assert (words(more), more.ended) == (["two"], None)


async def test_many_cursors_at_once(store: Store) -> None:
    ids = await put(store, *(job() for _ in range(100)))
    for _ in ids:
        claimed = await take_one(store)
        await say(store, claimed, claimed.id)
    found = await look(store, *(Cursor(id) for id in ids))
    assert [words(news) for news in found] == [[id] for id in ids]


# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_owner_of_a_running_job_finds_that_somebody_asked_to_cancel_it(store: Store, place: Place) -> None:
    other = await place.open()
    await put(store, job(id="mine"), job(id="theirs"), job(id="new"))
    await take_one(store)
    await take_one(store, owner="boot-2")
    assert await store.orders(OWNER) == []
    for id in ("mine", "theirs", "new"):
        await other.cancel(id, f"no more {id}")
    assert await store.orders(OWNER) == [("mine", "no more mine")]
    assert await store.orders("boot-2") == [("theirs", "no more theirs")]


@pytest.mark.parametrize("ends", [done, cancelled])
async def test_an_order_is_gone_when_the_attempt_is(store: Store, ends: object) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    await store.cancel("a", "enough")
    assert callable(ends)
    await store.settle([ends(claimed)])
    assert await store.orders(OWNER) == []


async def test_an_attempt_that_goes_back_in_spite_of_an_order_is_cancelled(store: Store) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    await store.cancel("a", "enough")
    assert await store.settle([again(claimed, store.now())]) == [True]
    assert await store.orders(OWNER) == []
    assert (await store.get("a")).state is State.CANCELLED
