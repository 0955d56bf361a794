"""Wakes: told soon, told once, not told by oneself, and told again when the line was dead."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from stoker.model.node import Beat
from stoker.store.base import Report, Wake
from stoker.store.postgres import PostgresStore
from tests.contract.make import LEASE, OWNER, done, job, put, quota, take_one
from tests.contract.places import PostgresPlace
from tests.contract.test_postgres_lost import word
from tests.net import Proxy
from tests.postgres import server

ALL = set(Wake)


def beat(boot: str) -> Beat:
    return Beat(boot=boot, name=boot, host="h", pid=1, version="0", labels=(), slots=1, running=0, seconds=30.0)


async def comes(condition: Callable[[], object], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(pg: PostgresPlace, url: str | None = None) -> AsyncIterator[tuple[PostgresStore, list[Wake]]]:
    """A store that has said everything once, and what it says from then on."""
    woken: list[Wake] = []
    store = PostgresStore(url or pg.url, pg.clock)
    store.listen(woken.append)
    await store.open()
    try:
        await comes(lambda: set(woken) == ALL)
        woken.clear()
        yield store, woken
    finally:
        await store.close()


async def test_each_reason_is_told_to_the_others_and_not_to_oneself(pg: PostgresPlace) -> None:
    other = await pg.open()
    async with listening(pg) as (store, woken), listening(pg) as (_, mirror):

        async def tells(*reasons: Wake) -> None:
            await comes(lambda: set(woken) == set(reasons) and set(mirror) >= set(reasons))
            assert len(woken) == len(set(woken)), "several at one time are told once"
            woken.clear()
            mirror.clear()

        await put(other, *(job() for _ in range(3)))
        await tells(Wake.JOBS)
        one = await take_one(other)
        await other.report([Report(one.seq, one.fence, (word("x"),))])
        await tells(Wake.NEWS)
        await store.cancel(one.id, "enough")
        await other.settle([done(one)])
        await tells(Wake.NEWS)
        await other.pause("app")
        await tells(Wake.ORDERS)
        await other.resume("app")
        await tells(Wake.ORDERS, Wake.JOBS)
        await other.cordon("alpha")
        await tells(Wake.ORDERS)
        await other.uncordon("alpha")
        await tells(Wake.ORDERS, Wake.JOBS)
        await put(store, job())
        await comes(lambda: mirror == [Wake.JOBS])
        assert woken == []


async def test_what_is_claimed_in_the_same_breath_wakes_nobody(pg: PostgresPlace) -> None:
    async with listening(pg) as (_, woken), listening(pg) as (other, _):
        stored, taken = other.submit([job()]), other.claim(OWNER, LEASE, [quota()], 5)
        await stored
        assert len(await taken) == 1
        stored, taken = other.submit([job(), job()]), other.claim(OWNER, LEASE, [quota()], 1)
        assert len(await stored) == 2
        await comes(lambda: woken)
        assert woken == [Wake.JOBS], "one was left over, and one only was told of"


async def test_who_has_the_store_to_itself_tells_nobody_until_somebody_comes(pg: PostgresPlace) -> None:
    async with listening(pg) as (_, woken), listening(pg) as (first, ordered):
        await first.beat(beat("one"))
        await comes(lambda: woken == [Wake.ORDERS])  # its first beat
        await first.submit([job()])
        other = await pg.open()
        await other.pause("app")
        await comes(lambda: len(woken) > 1)
        assert woken == [Wake.ORDERS, Wake.ORDERS], "what another session did, and nothing of its own"
        woken.clear()
        ordered.clear()
        await other.beat(beat("two"))
        await comes(lambda: Wake.ORDERS in ordered)
        await first.submit([job()])  # told to nobody
        woken.clear()
        await first.beat(beat("one"))
        await comes(lambda: set(woken) == ALL)  # so that who came misses nothing of it
        woken.clear()
        await first.submit([job()])
        await comes(lambda: woken == [Wake.JOBS])
        await other.leave("two")
        await first.beat(beat("one"))
        woken.clear()
        await first.submit([job()])
        await other.pause("app2")
        await comes(lambda: woken)
        assert woken == [Wake.ORDERS]


async def test_a_node_that_was_taken_for_gone_is_heard_of_at_once(pg: PostgresPlace) -> None:
    """It was cut off for long, and whoever was left tells nobody what it does: not a heartbeat later, now."""
    async with listening(pg) as (back, woken), listening(pg) as (first, ordered):
        await first.beat(beat("one"))
        await back.beat(beat("two"))
        await first.beat(beat("one"))
        pg.advance(61.0)
        await first.beat(beat("one"))
        await comes(lambda: set(woken) == ALL)
        ordered.clear()
        await back.beat(beat("two"))
        await comes(lambda: Wake.ORDERS in ordered)
        woken.clear()
        await first.beat(beat("one"))
        await comes(lambda: set(woken) == ALL)
        ordered.clear()
        await back.beat(beat("two"))
        await back.pause("app")
        await comes(lambda: ordered)
        assert ordered == [Wake.ORDERS], "an ordinary heartbeat is told to nobody"


async def test_a_group_tells_once(pg: PostgresPlace) -> None:
    async with listening(pg) as (_, woken):
        other = await pg.open()
        before = pg.sql("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        await asyncio.gather(*(other.submit([job()]) for _ in range(200)))
        await comes(lambda: woken)
        assert before
        assert len(woken) < 20


async def test_a_connection_that_was_ended_listens_again_and_says_everything(pg: PostgresPlace) -> None:
    other = await pg.open()
    async with listening(pg) as (store, woken):
        pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}/listener'")
        await comes(lambda: set(woken) == ALL)
        woken.clear()
        await put(other, job())
        await comes(lambda: woken)
        assert store._listener is not None
        assert store._listener.rounds == 2


@pytest.mark.parametrize("how", ["stopped", "silent"])
async def test_pg_boss_850_a_half_open_line_is_found_within_ten_seconds(
    pg: PostgresPlace, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """D21: the backend hangs, or nothing passes the line any more; nobody closes anything."""
    other = await pg.open()
    with Proxy(server().port) as proxy:
        url = server().dsn(port=proxy.port, schema=pg.schema, application_name=f"{pg.schema}_x")
        async with listening(pg, url) as (store, woken):
            ((pid,),) = pg.sql("SELECT pid FROM pg_stat_activity WHERE application_name = '{}_x/listener'")
            begun = time.monotonic()
            if how == "stopped":
                os.kill(pid, signal.SIGSTOP)
            else:
                proxy.block()
            try:
                assert store._listener is not None
                await comes(lambda: not store._listener._session.up, 10.0)  # type: ignore[union-attr]
                if how == "silent":
                    proxy.unblock()
                await comes(lambda: set(woken) == ALL)
                assert time.monotonic() - begun < 10.0
                woken.clear()
                await put(other, job())
                await comes(lambda: woken)
            finally:
                if how == "stopped":
                    os.kill(pid, signal.SIGCONT)
