"""The PostgreSQL driver when the server, or the line to it, goes away: nothing lost, nothing twice, and no waiting
without end."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Iterator

import pytest

from stoker.model.errors import StoreError, StoreUnavailable
from stoker.model.event import EventKind, NewEvent
from stoker.model.job import Progress, State, Submitted
from stoker.store.base import Filter, Report, Store
from stoker.store.postgres import PostgresStore
from tests.conftest import Fresh
from tests.contract.make import LEASE, OWNER, again, done, held, job, put, quota, take, take_one
from tests.contract.places import PostgresPlace
from tests.net import Fate, Proxy
from tests.postgres import server

SECONDS = float(os.environ.get("STOKER_TEST_CHAOS", "6"))
PUT, SETTLE, REPORT, CLAIM = rb"\.put\(", rb"\.settle\(", rb"\.report\(", rb"\.claim\("


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(server().port) as made:
        yield made


async def through(pg: PostgresPlace, proxy: Proxy) -> PostgresStore:
    store = PostgresStore(server().dsn(port=proxy.port, schema=pg.schema, application_name=pg.schema), pg.clock)
    await store.open()
    pg.keep(store)
    return store


def word(text: str, at: float = 1.0) -> NewEvent:
    return NewEvent(EventKind.CHUNK, at, f'"{text}"'.encode())


# ── a reply is lost ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_lost_reply_to_a_submission_makes_no_second_job(pg: PostgresPlace, proxy: Proxy) -> None:
    """D5: every second answer is lost; one job per id, and the caller hears of it."""
    store = await through(pg, proxy)
    turns = itertools.count()
    proxy.on(PUT, lambda: Fate.NO_REPLY if next(turns) % 2 else Fate.PASS)
    ids = [f"once-{number}" for number in range(40)]
    for id in ids:
        (answer,) = await store.submit([job(id=id)])
        assert isinstance(answer, Submitted)
        assert answer.id == id
    assert proxy.dropped >= 15
    assert sorted(one.id for one in await store.jobs(Filter(limit=1000))) == sorted(ids)


async def test_a_lost_reply_to_an_ending_is_found_out(pg: PostgresPlace, proxy: Proxy) -> None:
    """D11: the ending stands; the one who wrote it is told so, and not that somebody else had the job."""
    store = await through(pg, proxy)
    await put(store, *(job(id=id) for id in "abc"))
    first, second, third = await take(store)
    proxy.drop_reply_to(SETTLE)
    answers = await store.settle([done(first, b"1"), again(second, store.now() + 50), done(third), done(third)])
    assert proxy.dropped == 1
    assert answers[:3] == [True, True, True]
    assert (await store.get("a")).output == b"1"
    assert (await store.get("b")).state is State.NEW
    assert await store.settle([done(first, b"2")]) == [False], "a second ending is still refused"
    assert (await store.get("a")).output == b"1"


async def test_a_lost_reply_to_a_report_doubles_no_event(pg: PostgresPlace, proxy: Proxy) -> None:
    store = await through(pg, proxy)
    await put(store, job(id="a"), job(id="b"))
    a, b = await take(store)
    await store.report([Report(a.seq, a.fence, (word("0"),))])
    # stored, and not heard of; not stored; stored the second time, and its commit not heard of
    reports_fate = iter([Fate.NO_REPLY, Fate.LOST, Fate.PASS, Fate.LOST, Fate.PASS])
    commits_fate = iter([Fate.PASS, Fate.PASS, Fate.NO_REPLY])
    proxy.on(REPORT, lambda: next(reports_fate, Fate.PASS))
    proxy.on_commit(lambda: next(commits_fate, Fate.PASS))
    for number in range(1, 9, 2):
        reports = [
            Report(a.seq, a.fence, (word(str(number)), word(str(number + 1))), Progress(float(number))),
            Report(b.seq, b.fence, (word(str(number)),)),
        ]
        assert await store.report(reports) == [True, True]
    said = [bytes(event.data).decode().strip('"') for event in await store.events("a")]
    assert said == [str(number) for number in range(9)]
    assert len(await store.events("b")) == 4
    assert (proxy.dropped, next(commits_fate, None)) == (2, None)


async def test_a_lost_reply_to_a_claim_is_an_error_and_costs_an_attempt(pg: PostgresPlace, proxy: Proxy) -> None:
    """D11: never claimed again in the same breath: what it took runs out with its lease."""
    store = await through(pg, proxy)
    await put(store, job(id="a"))
    proxy.drop_reply_to(CLAIM)
    with pytest.raises(StoreUnavailable):
        await take(store)
    found = await store.get("a")
    assert (found.state, found.attempt) == (State.RUNNING, 1)
    assert await store.renew(OWNER, LEASE, []) == []
    pg.advance(LEASE + 1)
    (lost,) = await store.abandoned("somebody else")
    assert await store.settle([again(lost, store.now())]) == [True]
    assert (await take_one(store)).attempt == 2


async def test_a_claim_that_never_arrived_is_sent_again(pg: PostgresPlace, proxy: Proxy) -> None:
    """In a transaction that was not committed for certain: nothing of it is there, so it goes again."""
    store = await through(pg, proxy)
    await put(store, job(id="a"))
    fates = iter([Fate.LOST])
    proxy.on(CLAIM, lambda: next(fates, Fate.PASS))
    stored, taken = store.submit([job(id="b")]), store.claim(OWNER, LEASE, [quota()], 10)
    assert await stored == [Submitted("b", True)]
    assert [one.id for one in await taken] == ["a", "b"]


async def test_a_lost_commit_of_a_whole_group(pg: PostgresPlace, proxy: Proxy) -> None:
    """Reports, endings, submissions and a claim in one transaction, committed, and nobody hears of it."""
    store = await through(pg, proxy)
    await put(store, job(id="a"))
    a = await take_one(store)
    proxy.drop_reply_to_commit()
    results = await asyncio.gather(
        store.report([Report(a.seq, a.fence, (word("x"),))]),
        store.settle([done(a, b"1")]),
        store.submit([job(id="b")]),
        store.claim(OWNER, LEASE, [quota()], 10),
        return_exceptions=True,
    )
    assert proxy.dropped == 1
    assert results[0] == [True]
    assert results[1] == [True]
    assert results[2] == [Submitted("b", False)]
    assert isinstance(results[3], StoreUnavailable)
    assert len(await store.events("a")) == 1
    assert (await store.get("b")).state is State.RUNNING


# ── the line, or the server, is gone ─────────────────────────────────────────────────────────────────────────────────


async def test_nobody_waits_without_end_for_a_server_that_is_away(fresh_postgres: Fresh) -> None:
    away = fresh_postgres()
    store = PostgresStore(away.url)
    await store.open()
    try:
        await put(store, job(id="a"))
        away.stop("immediate")
        store._writer._patience = 0.5
        store._readers._patience = 0.5
        begun = time.monotonic()
        asked: list[Awaitable[object]] = [
            store.submit([job(id="b")]),
            store.renew(OWNER, LEASE, []),
            store.claim(OWNER, LEASE, [quota()], 1),
        ]
        asked.append(store.get("a"))
        for error in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(error, StoreUnavailable)
            assert "postgresql://" in error.message
        assert time.monotonic() - begun < 5
        away.start()
        store._writer._patience = 10.0
        store._readers._patience = 10.0
        assert (await store.submit([job(id="b")]))[0] == Submitted("b", True)
        assert {one.id for one in await store.jobs(Filter())} == {"a", "b"}
    finally:
        await store.close()


async def test_a_store_whose_server_is_away_cannot_be_opened_and_says_why(
    pg: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.store.postgres.store.PATIENCE", 0.3)
    with Proxy(1) as nothing:
        store = PostgresStore(f"postgresql://u:s3cret@127.0.0.1:{nothing.port}/db")
        with pytest.raises(StoreUnavailable) as refused:
            await store.open()
        await store.close()
    assert "s3cret" not in str(refused.value)
    assert "127.0.0.1" in str(refused.value)


async def test_a_wrong_database_is_said_at_once(pg: PostgresPlace) -> None:
    begun = time.monotonic()
    store = PostgresStore(server().dsn(database="nowhere"))
    with pytest.raises(StoreUnavailable, match="createdb"):
        await store.open()
    await store.close()
    assert time.monotonic() - begun < 3


async def test_sessions_that_are_ended_at_random_cost_nothing(pg: PostgresPlace) -> None:
    """D14: pg_terminate_backend under load; acknowledged jobs are there, none ends twice, all come back."""
    stores = [await pg.open() for _ in range(2)]
    acknowledged: set[str] = set()
    outcomes: Counter[str] = Counter()
    stop = time.monotonic() + SECONDS

    async def submitter(store: Store, name: str) -> None:
        for number in itertools.count():
            if time.monotonic() > stop:
                return
            ids = [f"{name}-{number}-{n}" for n in range(3)]
            answers = await store.submit([job(id=id) for id in ids])
            assert all(isinstance(answer, Submitted) for answer in answers)
            acknowledged.update(ids)

    async def worker(store: Store, owner: str) -> None:
        while time.monotonic() < stop:
            try:
                taken = await take(store, 20, owner=owner)
            except StoreUnavailable:
                continue
            for one in taken:
                await store.report([Report(one.seq, one.fence, (word(one.id),))])
            for one, accepted in zip(taken, await store.settle([done(one) for one in taken]), strict=True):
                assert accepted, "an ending of the only attempt was refused"
                outcomes[one.id] += 1
            await store.renew(owner, LEASE, held(*taken))

    async def killer() -> int:
        killed = 0
        chance = random.Random(7)
        while time.monotonic() < stop:
            await asyncio.sleep(chance.uniform(0.05, 0.3))
            pids = [pid for (pid,) in pg.sql("SELECT pid FROM pg_stat_activity WHERE application_name LIKE '{}/%'")]
            if pids:
                pg.sql(f"SELECT pg_terminate_backend({chance.choice(pids)})")
                killed += 1
        return killed

    tasks = [submitter(store, f"s{n}") for n, store in enumerate(stores)]
    tasks += [worker(store, f"w{n}") for n, store in enumerate(stores)]
    killed, _ = await asyncio.gather(killer(), asyncio.gather(*tasks))
    assert killed >= SECONDS
    pg.advance(LEASE + 1)
    for _ in range(100):
        lost = await stores[0].abandoned("w0", 5000)
        await stores[0].settle([again(one, stores[0].now()) for one in lost])
        taken = await take(stores[0])
        if not taken and not lost:
            break
        for one, accepted in zip(taken, await stores[0].settle([done(one) for one in taken]), strict=True):
            assert accepted
            outcomes[one.id] += 1
    assert set(outcomes) == acknowledged
    assert set(outcomes.values()) == {1}
    doubled = pg.sql("SELECT job FROM {}.events GROUP BY job HAVING count(*) > 1")
    assert doubled == [], "an event was written twice"


async def test_a_standby_is_left_for_the_primary(fresh_postgres: Fresh) -> None:
    """D22: a failover is followed: the named hosts are tried until one takes writes."""
    first = fresh_postgres()
    second = first.standby(synchronous=True)
    try:
        store = PostgresStore(
            f"postgresql://postgres@127.0.0.1:{first.port},127.0.0.1:{second.port}/postgres?connect_timeout=2"
        )
        await store.open()
        try:
            store._writer._patience = 60.0
            ids = await put(store, *(job() for _ in range(20)))
            first.stop("immediate")
            answer = store.submit([job(id="after")])
            await asyncio.to_thread(second.promote)
            assert isinstance((await answer)[0], Submitted)
            assert {one.id for one in await store.jobs(Filter(limit=100))} == {*ids, "after"}
        finally:
            await store.close()
    finally:
        second.close()


async def test_a_store_in_another_process_is_refused(pg: PostgresPlace) -> None:
    store = await pg.open()
    store._session._pid = 1  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="another process"):
        await store.submit([job()])
    assert store._session.up  # type: ignore[attr-defined]
    store._session._pid = os.getpid()  # type: ignore[attr-defined]
