"""The PostgreSQL driver: the order in which events become visible, and days that come and go."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from stoker.model.errors import UnknownJob
from stoker.model.event import EventKind, NewEvent
from stoker.model.job import Claimed, Progress, Submitted, Unique
from stoker.store.base import Cursor, Report, Store
from tests.contract.make import OWNER, done, finish, held, job, put, take, take_one
from tests.contract.places import PostgresPlace
from tests.postgres import server

DAY = 86400.0


def says(claimed: Claimed, *words: str) -> Report:
    return Report(claimed.seq, claimed.fence, tuple(NewEvent(EventKind.CHUNK, 1.0, f'"{w}"'.encode()) for w in words))


def raw_report(pg: PostgresPlace, connection: psycopg.Connection[tuple[object, ...]], one: Claimed, word: str) -> None:
    """What the driver does, in a transaction that is not committed yet."""
    connection.execute(
        f"SELECT * FROM {pg.schema}.report(ARRAY[{one.seq}]::bigint[], ARRAY[{one.fence}]::bigint[], "
        f"ARRAY[NULL], ARRAY[1], ARRAY['chunk'], ARRAY[now()], ARRAY['\"{word}\"'::bytea])".encode()
    )


async def words(store: Store, id: str, after: int = 0) -> list[str]:
    return [bytes(event.data).decode().strip('"') for event in await store.events(id, after)]


async def waits_for_a_lock(pg: PostgresPlace) -> None:
    while not pg.sql(
        "SELECT 1 FROM pg_stat_activity WHERE application_name = '{}/writer' AND wait_event_type = 'Lock'"
    ):
        await asyncio.sleep(0.005)


async def test_a_cursor_of_one_job_never_skips(pg: PostgresPlace) -> None:
    """S3: numbers are drawn before commits, so between jobs a higher one may be seen first; within a job never."""
    store = await pg.open()
    await put(store, job(id="a"), job(id="b"))
    a, b = await take(store)
    with psycopg.connect(server().socket_url) as slow:
        raw_report(pg, slow, a, "first")
        assert await store.report([says(b, "other")]) == [True], "another job does not wait"
        waiting = store.report([says(a, "second")])
        await waits_for_a_lock(pg)
        assert await words(store, "a") == []
        (later,) = await store.events("b")
        slow.commit()
    assert await waiting == [True]
    first, second = await store.events("a")
    assert first.seq < later.seq < second.seq, "the later number of another job was seen first"
    assert await words(store, "a", first.seq) == ["second"]


async def test_an_end_is_never_seen_before_the_last_words(pg: PostgresPlace) -> None:
    store = await pg.open()
    await put(store, job(id="a"))
    a = await take_one(store)
    with psycopg.connect(server().socket_url) as slow:
        raw_report(pg, slow, a, "last words")
        ending = store.settle([done(a)])
        await waits_for_a_lock(pg)
        (news,) = await store.news([Cursor("a")])
        assert (news.events, news.ended) == ([], None)
        slow.commit()
    assert await ending == [True]
    (news,) = await store.news([Cursor("a")])
    assert (len(news.events), news.ended is not None) == (1, True)


async def test_readers_that_follow_many_writers_miss_nothing(pg: PostgresPlace) -> None:
    """Four nodes write for twenty jobs, each job from one node; a reader follows all by cursor."""
    stores = [await pg.open() for _ in range(4)]
    ids = await put(stores[0], *(job() for _ in range(20)))
    claims = await take(stores[0])
    reader = await pg.open()
    seen: dict[str, list[str]] = {id: [] for id in ids}
    cursors = dict.fromkeys(ids, 0)
    open_ids = set(ids)

    async def write(number: int) -> None:
        mine = claims[number::4]
        for turn in range(30):
            await asyncio.gather(*(stores[number].report([says(one, f"{turn}")]) for one in mine))
        assert await stores[number].settle([done(one) for one in mine]) == [True] * len(mine)

    async def read() -> None:
        while open_ids:
            asked = [Cursor(id, cursors[id], 7) for id in sorted(open_ids)]
            for cursor, news in zip(asked, await reader.news(asked), strict=True):
                seen[cursor.job] += [bytes(event.data).decode().strip('"') for event in news.events]
                if news.events:
                    cursors[cursor.job] = news.events[-1].seq
                if news.ended is not None:
                    open_ids.discard(cursor.job)

    await asyncio.gather(read(), *(write(number) for number in range(4)))
    assert all(said == [str(turn) for turn in range(30)] for said in seen.values())


# ── days ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def tables(pg: PostgresPlace, parent: str) -> list[str]:
    """The days' tables that hold something."""
    rows = pg.sql(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        f"WHERE i.inhparent = '{{}}.{parent}'::regclass ORDER BY 1"
    )
    names = [name for (name,) in rows if name.startswith(f"{parent}_2023") or name.endswith("_rest")]
    return [name for name in names if pg.sql(f"SELECT EXISTS (SELECT FROM {{}}.{name})") == [(True,)]]


async def test_an_end_lies_in_its_day_and_goes_with_it(pg: PostgresPlace) -> None:
    store = await pg.open()
    for number in range(4):
        await put(store, job(id=f"day-{number}"))
        one = await take_one(store)
        await store.report([says(one, "x")])
        await finish(store, one)
        pg.advance(DAY)
        await store.purge(100 * DAY, 100 * DAY)
    days = [f"202311{14 + number}" for number in range(4)]
    assert tables(pg, "ended") == [f"ended_{day}" for day in days]
    assert tables(pg, "events") == [f"events_{day}" for day in days]
    assert [await store.purge(2 * DAY, DAY, limit=2) for _ in range(3)] == [4, 1, 0], "no more days than the limit asks"
    assert tables(pg, "ended") == [f"ended_{day}" for day in days[2:]]
    assert tables(pg, "events") == [f"events_{day}" for day in days[3:]]
    with pytest.raises(UnknownJob):
        await store.get("day-1")
    assert (await store.get("day-2")).output == b"null"


async def test_what_has_not_ended_keeps_its_events_when_their_day_goes(pg: PostgresPlace) -> None:
    store = await pg.open()
    await put(store, job(id="long"), job(id="short"))
    long, short = await take(store)
    await store.report([says(long, "1", "2"), says(short, "x")])
    await finish(store, short)
    pg.advance(5 * DAY)
    assert await store.purge(100 * DAY, DAY) == 1
    assert await words(store, "long") == ["1", "2"]
    assert tables(pg, "events") == ["events_rest"]
    assert await store.renew(OWNER, 30.0, held(long)) == [True]
    await store.report([says(long, "3")])
    assert await words(store, "long") == ["1", "2", "3"]
    await finish(store, long)
    pg.advance(3 * DAY)
    while await store.purge(100 * DAY, DAY):
        pass
    assert await words(store, "long") == []


async def test_a_day_that_was_not_made_beforehand_is_filled_from_the_rest(pg: PostgresPlace) -> None:
    """All daemons were away for a week: what ended on the first day back moves from the rest into its day."""
    store = await pg.open()
    pg.advance(7 * DAY)
    await put(store, *(job() for _ in range(5)))
    await finish(store, *await take(store))
    assert tables(pg, "ended") == ["ended_rest"]
    await store.purge(100 * DAY, 100 * DAY)
    assert tables(pg, "ended") == ["ended_20231121"]
    assert (await store.counts()).completed == 5


async def test_a_dropped_day_gives_its_unique_keys_back(pg: PostgresPlace) -> None:
    store = await pg.open()
    window = Unique(key="k", window=100 * DAY)
    await put(store, job(id="a", unique=window), job(id="b", unique=Unique(key="l")))
    await finish(store, *await take(store))
    pg.advance(3 * DAY)
    assert await store.purge(DAY, DAY) == 2
    assert pg.sql("SELECT count(*) FROM {}.unique_keys") == [(0,)]
    assert await store.submit([job(id="c", unique=window)]) == [Submitted("c", True)]


async def test_a_purge_waits_for_nobody(pg: PostgresPlace) -> None:
    """Somebody reads the old days at length: they go the next time; two nodes at once do no harm."""
    store, other = await pg.open(), await pg.open()
    await put(store, job())
    await finish(store, await take_one(store))
    pg.advance(5 * DAY)
    with psycopg.connect(server().socket_url) as reader:
        reader.execute(f"SELECT * FROM {pg.schema}.ended".encode())
        assert await asyncio.wait_for(store.purge(DAY, DAY), 5) == 0
        assert (await store.counts()).completed == 1
    assert sum(await asyncio.gather(store.purge(DAY, DAY), other.purge(DAY, DAY))) == 1
    assert (await store.counts()).completed == 0


async def test_progress_leaves_the_indexes_alone(pg: PostgresPlace) -> None:
    """Renewals and progress of running jobs are written beside the old version of the row (HOT)."""
    store = await pg.open()
    await put(store, job(id="a"))
    one = await take_one(store)
    await store.close()
    store = await pg.open()
    pg.sql("SELECT pg_stat_reset_single_table_counters('{}.jobs'::regclass)")
    for number in range(50):
        await store.report([Report(one.seq, one.fence, (), Progress(float(number)))])
        await store.renew(OWNER, 30.0, held(one))
    await store.close()
    ((written, hot),) = pg.sql(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = '{}.jobs'::regclass"
    )
    assert written == 100
    assert hot >= 95
