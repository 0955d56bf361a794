"""The PostgreSQL driver under many claimers: never more than asked, never the same twice, by any plan."""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import pytest

from stoker.model.job import Claimed
from stoker.store.base import Store
from stoker.store.postgres import PostgresStore
from tests.contract.make import LEASE, done, job, put, quota
from tests.contract.places import PostgresPlace

JOBS = int(os.environ.get("STOKER_TEST_CLAIMS", "2000"))
CLAIMERS = 8
COMMANDS = ("app.a", "app.b", "app.c")
HOSTILE = dict.fromkeys(("enable_hashjoin", "enable_mergejoin", "enable_material", "enable_sort"), "off")


async def drain(store: Store, owner: str, asked: int) -> list[Claimed]:
    found: list[Claimed] = []
    misses = 0
    while misses < 3:
        taken = await store.claim(owner, LEASE, [quota(name, asked) for name in COMMANDS], asked)
        assert len(taken) <= asked, "claimed more than asked"
        found += taken
        misses = 0 if taken else misses + 1
        await store.settle([done(one) for one in taken])
    return found


@pytest.mark.parametrize("settings", ["its own", "hostile"])
async def test_odd_jobs_115_no_plan_claims_more_than_asked(pg: PostgresPlace, settings: str) -> None:
    """D4: hostile settings, stale statistics, eight claimers. The functions bring settings of their own; without them
    the statements must hold too."""
    if settings == "hostile":
        pg.sql("ANALYZE {}.jobs")
        pg.sql("ALTER TABLE {}.jobs SET (autovacuum_enabled = off)")
        for function in ("claim", "settle", "put"):
            pg.sql(f"ALTER FUNCTION {{}}.{function} RESET ALL")
    more = HOSTILE if settings == "hostile" else {}
    stores = [PostgresStore(f"{pg.url}&" + "&".join(f"{k}={v}" for k, v in more.items())) for _ in range(CLAIMERS)]
    try:
        for store in stores:
            await store.open()
        ids = await put(stores[0], *(job(COMMANDS[number % 3]) for number in range(JOBS)))
        taken = await asyncio.gather(
            *(drain(store, f"owner-{number}", number % 5 + 1) for number, store in enumerate(stores))
        )
    finally:
        for store in stores:
            await store.close()
    flat = Counter(one.id for claims in taken for one in claims)
    assert sum(flat.values()) == JOBS, "each once"
    assert set(flat) == set(ids)


async def test_a_limit_over_all_nodes_is_never_passed(pg: PostgresPlace) -> None:
    """Eight nodes claim a command of which three may run at one time."""
    stores = [await pg.open() for _ in range(CLAIMERS)]
    await put(stores[0], *(job() for _ in range(60)))
    running: set[int] = set()
    most = 0
    done_ids: list[str] = []

    async def node(store: Store, owner: str) -> None:
        nonlocal most
        while len(done_ids) < 60:
            taken = await store.claim(owner, LEASE, [quota(limit=3)], 10)
            running.update(one.seq for one in taken)
            most = max(most, len(running))
            for one in taken:
                running.discard(one.seq)
                assert await store.settle([done(one)]) == [True]
                done_ids.append(one.id)
            await asyncio.sleep(0)

    await asyncio.gather(*(node(store, f"n{number}") for number, store in enumerate(stores)))
    assert sorted(Counter(done_ids).values()) == [1] * 60
    assert 1 <= most <= 3


async def test_a_rate_over_all_nodes_is_never_passed(pg: PostgresPlace) -> None:
    stores = [await pg.open() for _ in range(4)]
    await put(stores[0], *(job() for _ in range(20)))
    for _ in range(5):
        taken = await asyncio.gather(*(store.claim("x", LEASE, [quota(interval=10.0)], 10) for store in stores))
        assert sum(len(claims) for claims in taken) == 1
        pg.advance(10.0)


async def test_a_claim_reads_its_line_and_nothing_else(pg: PostgresPlace) -> None:
    """However much waits or has ended: ordered by the index, cut by the limit, with no statistics at all."""
    store = await pg.open()
    for command in ("app.work", "app.other"):
        pg.sql(
            "INSERT INTO {}.jobs (id, command, state, waits, priority, created, updated, run_at, input) "
            f"SELECT '{command}' || n, '{command}', 'new', 'slot', n % 3, now(), now(), now(), '' "
            "FROM generate_series(1, 20000) n"
        )
    pg.sql("SELECT pg_stat_force_next_flush()")
    await store.claim("x", LEASE, [quota(), quota("app.other")], 5)
    pg.sql("SELECT pg_stat_reset_single_table_counters('{}.jobs'::regclass)")
    for _ in range(20):
        assert len(await store.claim("x", LEASE, [quota(room=5), quota("app.other", room=5)], 5)) == 5
    await store.close()
    ((scans, rows),) = pg.sql(
        "SELECT seq_scan, seq_tup_read FROM pg_stat_user_tables WHERE relid = '{}.jobs'::regclass"
    )
    assert (scans, rows) == (0, 0)
    ((fetched,),) = pg.sql("SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relid = '{}.jobs'::regclass")
    assert fetched < 20 * 100, f"{fetched} rows were read for 100 claims"
