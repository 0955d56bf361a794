"""stoker.submit(…): a job within the caller's own transaction."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from stoker.model.errors import UnknownJob
from stoker.model.job import Overrides, State, Submitted, Unique, Waits
from stoker.store.base import Filter, Wake
from tests.contract.make import finish, job, put, take, take_one
from tests.contract.places import PostgresPlace
from tests.postgres import server


@pytest.fixture
def caller(pg: PostgresPlace) -> Iterator[psycopg.Connection[Any]]:
    """The application's own connection, with a table of its own."""
    with psycopg.connect(server().socket_url) as connection:
        connection.execute(f"CREATE TABLE {pg.schema}.orders (n int)".encode())
        connection.commit()
        yield connection
        connection.rollback()


def submit(pg: PostgresPlace, caller: psycopg.Connection[Any], arguments: str) -> str:
    row = caller.execute(f"SELECT {pg.schema}.submit({arguments})".encode()).fetchone()
    assert row is not None
    return str(row[0])


async def test_a_rollback_leaves_nothing(pg: PostgresPlace, caller: psycopg.Connection[Any]) -> None:
    store = await pg.open()
    caller.execute(f"INSERT INTO {pg.schema}.orders VALUES (1)".encode())
    id = submit(pg, caller, """'app.work', '{"n": 1}', unique_key => 'k', key => 'g'""")
    with pytest.raises(UnknownJob):
        await store.get(id)
    caller.rollback()
    with pytest.raises(UnknownJob):
        await store.get(id)
    assert pg.sql("SELECT count(*) FROM {}.unique_keys") == [(0,)]


async def test_a_commit_stores_and_wakes(pg: PostgresPlace, caller: psycopg.Connection[Any]) -> None:
    woken: list[Wake] = []
    store = pg.new()
    store.listen(woken.append)
    await store.open()
    try:
        while len(woken) < 3:
            await asyncio.sleep(0.01)
        woken.clear()
        id = submit(pg, caller, """'app.work', '{"n": 1}'""")
        caller.commit()
        while not woken:
            await asyncio.sleep(0.01)
        assert woken == [Wake.JOBS]
        (claimed,) = await take(store)
        assert (claimed.id, claimed.command, claimed.input) == (id, "app.work", b'{"n": 1}')
        await finish(store, claimed)
    finally:
        await store.close()


async def test_every_argument_arrives(pg: PostgresPlace, caller: psycopg.Connection[Any]) -> None:
    store = await pg.open()
    now = store.now()
    id = submit(
        pg,
        caller,
        """'app.work', '{}', id => '018bcfe5-6800-7000-8000-000000000000', priority => 7, delay => '1 hour',
           expires => '1 minute', "user" => 'u7', tags => '{a,"b c"}', key => 'k', key_limit => 2, unique_key => 'u',
           unique_window => '1 day', timeout => '5 seconds', retries => 3, memory => 1024""",
    )
    caller.commit()
    found = await store.get(id)
    assert found.id == "018bcfe5680070008000000000000000"
    assert (found.priority, found.run_at, found.expires, found.waits) == (7, now + 3600, now + 3660, Waits.TIME)
    assert (found.user, found.tags, found.key, found.unique) == ("u7", ("a", "b c"), "app.work:k", "app.work:u")
    assert found.overrides == Overrides(timeout=5.0, retries=3, memory=1024)
    assert await store.submit([job(unique=Unique(key="u", window=1.0))]) == [Submitted(id, False)]


async def test_an_id_of_its_own_is_a_uuid_of_now(pg: PostgresPlace, caller: psycopg.Connection[Any]) -> None:
    store = await pg.open()
    ids = [submit(pg, caller, "'app.work'") for _ in range(20)]
    caller.commit()
    assert len(set(ids)) == 20
    assert all(re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}", id) for id in ids)
    assert {int(id[:12], 16) for id in ids} == {round(store.now() * 1000)}
    assert {(await store.get(id)).state for id in ids} == {State.NEW}


async def test_keys_are_those_of_every_other_submission(pg: PostgresPlace, caller: psycopg.Connection[Any]) -> None:
    store = await pg.open()
    await put(store, job(id="holder", key="app.work:k", unique=Unique(key="u")))
    assert submit(pg, caller, "'app.work', unique_key => 'u'") == "holder"
    waits = submit(pg, caller, "'app.work', key => 'k'")
    caller.commit()
    assert (await store.get(waits)).waits is Waits.KEY
    assert await store.submit([job(id="again", input=b"{}", unique=Unique())]) == [Submitted("again", True)]
    await finish(store, await take_one(store))
    assert (await store.get(waits)).waits is Waits.SLOT


REFUSED = {
    "SK001": ["'app.work', '{}', id => 'taken'"],
    "SK002": ["'app.work', unique_key => 'u', on_duplicate => 'reject'"],
    "SK003": [
        "'work'",
        "NULL",
        "'app.work', NULL",
        "'app.work', id => ''",
        "'app.work', id => 'A'",
        "'app.work', priority => 101",
        "'app.work', delay => '1 s', run_at => now()",
        "'app.work', delay => '-1 s'",
        "'app.work', run_at => 'infinity'",
        "'app.work', tags => array_fill('x'::text, ARRAY[33])",
        "'app.work', tags => ARRAY[NULL]",
        "'app.work', tags => ARRAY['']",
        "'app.work', \"user\" => repeat('x', 257)",
        "'app.work', key => 'k', key_limit => 0",
        "'app.work', on_duplicate => 'whatever'",
        "'app.work', retries => -1",
    ],
}


@pytest.mark.parametrize(("code", "arguments"), [(code, text) for code, texts in REFUSED.items() for text in texts])
async def test_a_refusal_says_why_and_stores_nothing(
    pg: PostgresPlace, caller: psycopg.Connection[Any], code: str, arguments: str
) -> None:
    store = await pg.open()
    await put(store, job(id="taken", input=b"1", unique=Unique(key="u")))
    with pytest.raises(psycopg.Error) as refused:
        submit(pg, caller, arguments)
    caller.rollback()
    assert refused.value.sqlstate == code
    assert refused.value.diag.message_primary
    assert [found.id for found in await store.jobs(Filter())] == ["taken"]


async def test_a_role_that_may_only_enqueue(pg: PostgresPlace) -> None:
    """Two grants, and it can store jobs; and nothing else."""
    role = f"app_{pg.schema}"
    pg.sql(f"CREATE ROLE {role} LOGIN")
    try:
        pg.sql(f"GRANT USAGE ON SCHEMA {{}} TO {role}")
        store = await pg.open()
        with psycopg.connect(server().dsn(user=role), autocommit=True) as app:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                submit(pg, app, "'app.work'")
            pg.sql(f"GRANT EXECUTE ON FUNCTION {{}}.submit TO {role}")
            id = submit(pg, app, "'app.work', key => 'k', unique_key => 'u'")
            for forbidden in (
                "SELECT * FROM {}.jobs",
                "DELETE FROM {}.jobs",
                "SELECT {}.cancel('x', 'y', NULL)",
                "SELECT * FROM {}.claim('x', 1, ARRAY['app.work'], ARRAY[1], NULL, NULL, 1)",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    app.execute(forbidden.replace("{}", pg.schema).encode())
        assert (await take_one(store)).id == id
    finally:
        pg.sql(f"DROP OWNED BY {role}")
        pg.sql(f"DROP ROLE {role}")


async def test_a_callers_search_path_leads_nowhere(pg: PostgresPlace, caller: psycopg.Connection[Any]) -> None:
    """SECURITY DEFINER must not take a function of the caller's for the system's."""
    store = await pg.open()
    caller.execute(
        f"CREATE FUNCTION pg_temp.length(text) RETURNS int LANGUAGE sql AS 'SELECT 1/0'; "
        f"SET search_path = pg_temp, {pg.schema}, pg_catalog; SET plan_cache_mode = force_custom_plan".encode()
    )
    id = submit(pg, caller, "'app.work', \"user\" => 'u'")
    caller.commit()
    assert (await store.get(id)).user == "u"
