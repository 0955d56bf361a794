"""The PostgreSQL driver: ids, unique keys and concurrency keys, with several writers at one time."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

import psycopg

from stoker.model.errors import IdConflict, RequestError
from stoker.model.ids import new_job_id
from stoker.model.job import Submitted, Unique
from stoker.store.base import Filter, Store
from tests.contract.make import LEASE, again, done, finish, job, put, quota, take, take_one
from tests.contract.places import PostgresPlace
from tests.postgres import server

KEY = "app.work:k"


async def test_an_id_is_one_job_while_it_moves_to_its_end(pg: PostgresPlace) -> None:
    """The mover has deleted and inserted, and not committed yet; the same id is submitted: it waits, and then sees."""
    store = await pg.open()
    for id in ("a", new_job_id()):
        new = job(id=id)
        await put(store, new)
        await take_one(store)
        with psycopg.connect(server().socket_url) as mover:
            mover.execute(
                f"SELECT * FROM {pg.schema}.settle(ARRAY[(SELECT seq FROM {pg.schema}.jobs WHERE id = '{id}')], "
                "ARRAY[1]::bigint[], ARRAY['completed'], ARRAY[1], ARRAY[NULL]::timestamptz[], ARRAY['1'::bytea], "
                "ARRAY[NULL])".encode()
            )
            same, other = store.submit([new]), store.submit([job(id=id, input=b"2")])
            while not pg.sql(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = '{}/writer' AND wait_event_type = 'Lock'"
            ):
                await asyncio.sleep(0.01)
            mover.commit()
        assert await same == [Submitted(id, False)]
        (refused,) = await other
        assert isinstance(refused, IdConflict)
        assert pg.sql(f"SELECT count(*) FROM {{}}.jobs WHERE id = '{id}'") == [(0,)]


async def test_an_id_is_one_job_under_a_storm(pg: PostgresPlace) -> None:
    """Ends and submissions of the same ids, from four stores, in any order: never a second job."""
    stores = [await pg.open() for _ in range(4)]
    ids = [new_job_id() for _ in range(20)]

    async def send(store: Store, chance: random.Random) -> int:
        made = 0
        for _ in range(40):
            some = chance.sample(ids, 3)
            for answer in await store.submit([job(id=id) for id in some]):
                made += isinstance(answer, Submitted) and answer.created
        return made

    async def work(store: Store) -> int:
        starts = 0
        for _ in range(60):
            taken = await take(store, 3)
            starts += len(taken)
            await store.settle([done(one) for one in taken])
        return starts

    results = await asyncio.gather(
        *(send(store, random.Random(number)) for number, store in enumerate(stores)), *(work(store) for store in stores)
    )
    found = await stores[0].jobs(Filter(limit=1000))
    assert Counter(one.id for one in found) == Counter(ids)
    assert sum(results[:4]) == 20
    assert all(one.attempt <= 1 for one in found)


async def test_keys_hold_and_strand_nobody_under_a_storm(pg: PostgresPlace) -> None:
    """M5 with four nodes: submissions, ends, hand-backs and cancels under three keys; C1 at each claim, C2 at last."""
    stores = [await pg.open() for _ in range(4)]
    limits = {"app.work:a": 1, "app.work:b": 2, "app.work:c": 3}
    running: Counter[str] = Counter()

    async def node(number: int, store: Store) -> None:
        chance = random.Random(number)
        for turn in range(40):
            key = chance.choice(list(limits))
            new = [job(id=f"j{number}-{turn}-{n}", key=key, key_limit=limits[key]) for n in range(2)]
            await store.submit(new)
            if chance.random() < 0.2:
                await store.cancel(new[0].id, "not wanted")
            taken = await store.claim(f"n{number}", LEASE, [quota(room=3)], 3)
            for one in taken:
                assert one.key is not None
                running[one.key] += 1
                assert running[one.key] <= limits[one.key]
            for one in taken:
                back = chance.random() < 0.2
                await asyncio.sleep(0)
                running[one.key or ""] -= 1
                ending = again(one, store.now() + (100 if chance.random() < 0.5 else 0)) if back else done(one)
                assert await store.settle([ending]) == [True]

    await asyncio.gather(*(node(number, store) for number, store in enumerate(stores)))
    pg.advance(200)
    await stores[0].promote()
    for key, limit in limits.items():
        waiting = [one for one in await stores[0].jobs(Filter(limit=1000)) if one.key == key and not one.state.ended]
        assert len(await stores[0].holders(key)) == min(limit, len(waiting)), key
    while taken := await take(stores[0], 3):
        await finish(stores[0], *taken)
    counts = await stores[0].counts()
    assert (counts.new, counts.running, counts.held) == (0, 0, 0)


async def test_a_unique_key_is_one_job_from_many_nodes(pg: PostgresPlace) -> None:
    stores = [await pg.open() for _ in range(4)]
    for _ in range(10):
        answers = await asyncio.gather(
            *(store.submit([job(unique=Unique(key="k")), job(unique=Unique(key="l"))]) for store in stores),
            *(store.submit([job(unique=Unique(key="l")), job(unique=Unique(key="k"))]) for store in stores),
        )
        flat = [answer for pair in answers for answer in pair]
        assert sum(isinstance(answer, Submitted) and answer.created for answer in flat) == 2
        taken = await take(stores[0])
        assert len(taken) == 2
        await finish(stores[0], *taken)


async def test_one_bad_row_among_a_hundred(pg: PostgresPlace) -> None:
    """Also one that only the server finds bad: everything else of the group is stored, each once."""
    store = await pg.open()
    pg.sql("ALTER TABLE {}.jobs ADD CHECK (command <> 'app.bad')")
    new = [job("app.bad" if number == 50 else "app.work") for number in range(100)]
    answers = await store.submit(new)
    assert isinstance(answers[50], RequestError)
    assert sum(answer == Submitted(one.id, True) for answer, one in zip(answers, new, strict=True)) == 99
    groups = await asyncio.gather(*(store.submit([one, job("app.bad")]) for one in [job() for _ in range(20)]))
    assert all(isinstance(good, Submitted) and isinstance(bad, RequestError) for good, bad in groups)
    assert len(await take(store)) == 119


async def test_a_deadlock_is_nobodys_error(pg: PostgresPlace) -> None:
    """Another session takes the same ids in the other order; the server ends one of the two."""
    store = await pg.open()
    ids = ["dead-1", "dead-2"]
    insert = (
        f"INSERT INTO {pg.schema}.jobs (id, command, state, waits, priority, created, updated, run_at, input) "
        "VALUES (%s, 'app.work', 'new', 'slot', 0, now(), now(), now(), '{}')"
    )
    with psycopg.connect(server().socket_url) as other:
        other.execute(insert.encode(), (ids[1],))
        answer = store.submit([job(id=id) for id in ids])
        while not pg.sql(
            "SELECT 1 FROM pg_stat_activity WHERE application_name = '{}/writer' AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.01)

        def second() -> None:
            try:
                other.execute(insert.encode(), (ids[0],))
                other.commit()
            except psycopg.errors.DeadlockDetected:
                other.rollback()

        thread = threading.Thread(target=second)
        thread.start()
        found = await answer
        await asyncio.to_thread(thread.join)
    assert [isinstance(one, Submitted) for one in found] == [True, True]
    assert len(await store.jobs(Filter())) == 2
