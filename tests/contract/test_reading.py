"""Reading: one job, lists and pages, events and their cursor, and figures that agree with a count by hand."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import msgspec
import pytest

from stoker.model.errors import UnknownJob
from stoker.model.event import EventKind, NewEvent
from stoker.model.job import State
from stoker.store.base import CommandStats, Counts, Filter, Report, Store
from tests.contract.make import again, cancelled, done, failed, job, put, take, take_one
from tests.contract.places import ANY_TEXT, Place, needs


async def listed(store: Store, **filter: object) -> list[str]:
    return [found.id for found in await store.jobs(Filter(**{"limit": 100, **filter}))]  # type: ignore[arg-type]


async def test_jobs_come_newest_first(store: Store) -> None:
    ids = await put(store, *(job() for _ in range(5)))
    assert await listed(store) == ids[::-1]
    assert await listed(store, limit=2) == ids[:2:-1]
    assert len(await store.jobs(Filter())) == 5


async def test_pages_cover_all_without_gap_or_overlap(store: Store) -> None:
    ids = await put(store, *(job() for _ in range(10)))
    seen: list[str] = []
    before = None
    while page := await store.jobs(Filter(limit=3, before=before)):
        seen += [found.id for found in page]
        before = page[-1].seq
        await put(store, job())
    assert seen == ids[::-1]


@pytest.mark.parametrize("limit", [0, -5, 10**9])
async def test_an_odd_page_size_is_a_small_or_a_bounded_page(store: Store, limit: int) -> None:
    await put(store, *(job() for _ in range(1100)))
    assert 1 <= len(await store.jobs(Filter(limit=limit))) <= 1000


async def test_filters_narrow_alone_and_together(store: Store) -> None:
    await put(
        store,
        job("app.work", id="a", user="u1", tags=("red", "big")),
        job("app.work", id="b", user="u2", tags=("red",)),
        job("app.other", id="c", user="u1"),
        job("apple.work", id="d", user="u1"),
        job("app2.work", id="e", tags=("redder",)),
    )
    await take_one(store)
    assert await listed(store, state=State.RUNNING) == ["a"]
    assert await listed(store, state=State.NEW) == ["e", "d", "c", "b"]
    assert await listed(store, command="app.work") == ["b", "a"]
    assert await listed(store, product="app") == ["c", "b", "a"]
    assert await listed(store, user="u1") == ["d", "c", "a"]
    assert await listed(store, tag="red") == ["b", "a"]
    assert await listed(store, product="app", user="u1", tag="big", state=State.RUNNING) == ["a"]
    assert await listed(store, user="u3") == []


@pytest.mark.parametrize("text", ["' OR 1=1 --", "%", "_", "app.work' --", '"', "\\", "{a,b}", "x" * 1000])
async def test_a_filter_is_a_value_and_never_a_statement(store: Store, text: str) -> None:
    await is_found_by(store, text)


@needs(ANY_TEXT)
async def test_a_text_may_have_the_character_nul(store: Store) -> None:
    await is_found_by(store, "\x00")


async def test_what_cannot_be_stored_is_found_nowhere(store: Store) -> None:
    await put(store, job(id="a"))
    assert await listed(store, user="\x00\x00") == []
    assert await listed(store, tag="\x00\x00") == []
    with pytest.raises(UnknownJob):
        await store.get("\x00")


async def is_found_by(store: Store, text: str) -> None:
    await put(store, job(id="a", user="u", tags=("t",)), job(id="b", user=text, tags=(text,)))
    assert await listed(store, user=text) == ["b"]
    assert await listed(store, tag=text) == ["b"]
    assert await listed(store, command=text) == []
    assert await listed(store, product=text) == []


async def test_ahead_counts_what_goes_first(store: Store) -> None:
    ids = await put(store, job(priority=0), job(priority=5), job(priority=0), job(priority=-1), job(priority=5))
    ahead = [await store.ahead(await store.get(id)) for id in ids]
    assert ahead == [2, 0, 3, 4, 1]
    await take(store, 2)
    assert await store.ahead(await store.get(ids[3])) == 2


async def test_events_are_read_on_from_a_cursor(store: Store) -> None:
    await put(store, job(id="a"), job(id="b"))
    first, second = await take_one(store), await take_one(store)
    for number in range(10):
        for claimed in (first, second):
            event = NewEvent(EventKind.CHUNK, float(number), b"%d" % number)
            await store.report([Report(claimed.seq, claimed.fence, (event,))])
    seen: list[bytes] = []
    cursor = 0
    while page := await store.events("a", cursor, 3):
        assert len(page) <= 3
        assert all(after.seq > before.seq for before, after in itertools.pairwise(page))
        seen += [bytes(event.data) for event in page]
        assert page[-1].seq > cursor
        assert len(seen) <= 10
        cursor = page[-1].seq
    assert seen == [b"%d" % number for number in range(10)]
    assert await store.events("a", cursor) == []


async def test_a_cursor_misses_nothing_that_is_reported_later(store: Store) -> None:
    await put(store, job(id="a"), job(id="b"))
    first, second = await take_one(store), await take_one(store)
    one = NewEvent(EventKind.LOG, 1.0, b"1")
    await store.report([Report(first.seq, first.fence, (one,)), Report(second.seq, second.fence, (one,))])
    cursor = (await store.events("b"))[-1].seq
    await store.report([Report(first.seq, first.fence, (one,))])
    assert len(await store.events("a", cursor)) == 1
    assert await store.events("b", cursor) == []


async def test_events_of_one_report_keep_their_order_kind_and_bytes(store: Store) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    new = tuple(NewEvent(kind, 1.5, b'{"k":"%s"}' % kind.encode()) for kind in EventKind)
    await store.report([Report(claimed.seq, claimed.fence, new)])
    found = await store.events("a")
    assert [(event.kind, event.at, bytes(event.data)) for event in found] == [(e.kind, e.at, e.data) for e in new]


async def test_an_empty_store_counts_nothing(store: Store) -> None:
    assert await store.counts() == Counts()
    assert await store.command_stats() == []
    assert await store.jobs(Filter()) == []


async def a_history(store: Store, place: Place, seed: int) -> None:
    """Some of everything: all states, all waits, two commands, times that differ."""
    chance = random.Random(seed)
    for number in range(120):
        key = chance.choice([None, None, "app.a:k", "app.a:l"])
        run_at = store.now() + 1000 if chance.random() < 0.2 else None
        await put(store, job(chance.choice(["app.a", "app.b"]), key=key, run_at=run_at))
        place.advance(chance.random())
        if number % 3 == 0:
            for claimed in await take(store, 1, "app.a", "app.b"):
                place.advance(chance.random())
                output = chance.choice([b"null", b'{"success":false}', b'{"success":true}', b'"success"', b"[0]"])
                ending = [done(claimed, output), failed(claimed), cancelled(claimed), again(claimed, store.now() + 5)]
                if chance.random() < 0.9:
                    await store.settle([chance.choice(ending)])


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_counts_are_those_of_a_count_by_hand(store: Store, place: Place, seed: int) -> None:
    await a_history(store, place, seed)
    found = await store.jobs(Filter(limit=1000))
    states = Counter(str(one.state) for one in found)
    waits = Counter(str(one.waits) for one in found if one.state is State.NEW)
    ready = [one for one in found if one.state is State.NEW and one.waits == "slot"]
    since = {name: min(one.run_at for one in ready if one.command == name) for name in {one.command for one in ready}}
    assert len(states) == 5
    assert len(waits) == 3
    assert await store.counts() == Counts(
        **states, ready=waits["slot"], scheduled=waits["time"], held=waits["key"], ready_since=since
    )
    assert await store.counts(ended=False) == Counts(
        new=states["new"], running=states["running"],
        ready=waits["slot"], scheduled=waits["time"], held=waits["key"], ready_since=since,
    )  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_figures_of_commands_are_those_of_a_count_by_hand(store: Store, place: Place, seed: int) -> None:
    await a_history(store, place, seed)
    expected = []
    for command in ("app.a", "app.b"):
        ended = [one for one in await store.jobs(Filter(limit=1000, command=command)) if one.state.ended]
        good = [one for one in ended if one.state is State.COMPLETED]
        states = Counter(str(one.state) for one in ended)
        whole = [(one.finished or 0) - one.created for one in good]
        run = [(one.finished or 0) - (one.started or 0) for one in good]
        expected.append(
            CommandStats(
                command,
                len(ended),
                states["completed"],
                states["failed"],
                states["cancelled"],
                sum(one.output == b'{"success":false}' for one in good),
                sum(whole) / len(whole),
                sum(run) / len(run),
            )
        )
    found = await store.command_stats()
    assert [rounded(row) for row in found] == [rounded(row) for row in expected]


def rounded(row: CommandStats) -> CommandStats:
    assert row.seconds is not None
    assert row.run_seconds is not None
    return msgspec.structs.replace(row, seconds=round(row.seconds, 3), run_seconds=round(row.run_seconds, 3))


async def test_the_oldest_ready_job_is_the_oldest_whatever_its_priority(store: Store, place: Place) -> None:
    """The age by which health is judged: a stream of urgent jobs does not hide the one that starves."""
    first = store.now()
    await put(store, job(priority=0))
    place.advance(100)
    await put(store, job(priority=10))
    assert (await store.counts()).oldest_ready == first


async def test_a_delayed_job_is_as_old_as_its_time(store: Store, place: Place) -> None:
    due = store.now() + 1000
    await put(store, job(run_at=due))
    place.advance(1001)
    await store.promote()
    assert (await store.counts()).oldest_ready == due
