"""The PostgreSQL driver through PgBouncer, which gives a connection for one transaction at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from stoker.model.job import State, Submitted, Unique
from stoker.store.base import Cursor, Report, Wake
from stoker.store.postgres import PostgresStore
from tests.contract.make import LEASE, OWNER, done, held, job, put, take, take_one
from tests.contract.places import PostgresPlace
from tests.contract.test_postgres_listen import comes, listening
from tests.contract.test_postgres_lost import word
from tests.pgbouncer import PgBouncer
from tests.postgres import server


@pytest.fixture
def pooler() -> Iterator[PgBouncer]:
    with PgBouncer(server(), default_pool_size=2) as made:
        yield made


async def test_everything_works_through_a_transaction_pooler(pg: PostgresPlace, pooler: PgBouncer) -> None:
    """Four stores over two connections, at one time: no statement is missing, no setting is left to another."""
    url = pooler.dsn(schema=pg.schema, pooler="transaction")
    stores = [PostgresStore(url, pg.clock) for _ in range(4)]
    try:
        await asyncio.gather(*(store.open() for store in stores))

        async def work(number: int) -> None:
            store, owner = stores[number], f"n{number}"
            for turn in range(10):
                new = [job(id=f"p{number}-{turn}-{n}", key="app.work:k" if n else None, key_limit=9) for n in range(3)]
                assert await store.submit(new) == [Submitted(one.id, True) for one in new]
                for one in await take(store, 3, owner=owner):
                    assert await store.report([Report(one.seq, one.fence, (word("x"),))]) == [True]
                    assert await store.renew(owner, LEASE, held(one)) == [True]
                    assert await store.settle([done(one)]) == [True]
                    assert (await store.get(one.id)).state is State.COMPLETED
                    (news,) = await store.news([Cursor(one.id)])
                    assert len(news.events) == 1
                await store.promote()
                await store.counts()

        await asyncio.gather(*(work(number) for number in range(4)))
        await stores[0].submit([job(unique=Unique(key="u"))], together=True)
        await stores[0].purge(1e6, 1e6)
        left = await take(stores[0])
        assert all(await stores[1].settle([done(one) for one in left]))
        counts = await stores[2].counts()
        assert (counts.completed, counts.new, counts.running) == (121, 0, 0)
    finally:
        for store in stores:
            await store.close()


async def test_tables_are_made_through_a_pooler_too(pooler: PgBouncer) -> None:
    store = PostgresStore(pooler.dsn(schema="through_pooler", pooler="transaction"))
    try:
        await store.open()
        await put(store, job())
        assert (await take_one(store)).attempt == 1
    finally:
        await store.close()
        server().psql("DROP SCHEMA through_pooler CASCADE")


async def test_without_a_direct_line_nobody_is_woken_and_with_one_everybody(
    pg: PostgresPlace, pooler: PgBouncer
) -> None:
    other = await pg.open()
    deaf = PostgresStore(pooler.dsn(schema=pg.schema, pooler="transaction"), pg.clock)
    deaf.listen(lambda wake: pytest.fail("nothing is listened for"))
    await deaf.open()
    assert deaf._listener is None
    await deaf.close()
    direct = f"127.0.0.1:{server().port}"
    async with listening(pg, pooler.dsn(schema=pg.schema, pooler="transaction", direct=direct)) as (store, woken):
        await put(other, job())
        await comes(lambda: woken == [Wake.JOBS])
        (claimed,) = await store.claim(OWNER, LEASE, [], 0) or await take(store)
        assert await store.settle([done(claimed)]) == [True]
        assert store._writer is not None


async def test_a_pooler_that_goes_away_comes_back(pg: PostgresPlace, pooler: PgBouncer) -> None:
    store = PostgresStore(pooler.dsn(schema=pg.schema, pooler="transaction"), pg.clock)
    await store.open()
    try:
        await put(store, job(id="a"))
        pooler.kill()
        pooler.start()
        assert await store.submit([job(id="b")]) == [Submitted("b", True)]
        assert [one.id for one in await take(store)] == ["a", "b"]
    finally:
        await store.close()
