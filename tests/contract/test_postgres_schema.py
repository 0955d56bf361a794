"""The PostgreSQL driver's tables: made once, by whoever comes first; never anybody else's; never a newer version's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import psycopg
import pytest

from stoker.model.errors import StoreNotOurs, StoreUnavailable
from stoker.model.job import Submitted
from stoker.store import statements
from stoker.store.address import look, migrate, plan
from stoker.store.postgres import PostgresStore
from tests.contract.make import finish, job, put, take_one
from tests.postgres import server

NEWEST = len(statements.migrations("postgres"))
OLDER = 11
"""A migration that is taken back to make an older schema; what those after it made is dropped."""


@pytest.fixture
def schema() -> Iterator[str]:
    name = f"m_{os.urandom(6).hex()}"
    yield name
    sql(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def sql(text: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server().socket_url, autocommit=True) as admin:
        cursor = admin.execute(text.encode())
        return cursor.fetchall() if cursor.description else []


async def opened(url: str) -> PostgresStore:
    store = PostgresStore(url)
    try:
        await store.open()
    except BaseException:
        await store.close()
        raise
    return store


async def test_four_that_come_at_once_make_the_tables_once(schema: str) -> None:
    stores = await asyncio.gather(*(opened(server().dsn(schema=schema)) for _ in range(4)))
    answers = await asyncio.gather(*(store.submit([job()]) for store in stores))
    assert all(isinstance(answer, Submitted) and answer.created for (answer,) in answers)
    for store in stores:
        await store.close()
    assert sql(f"SELECT version FROM {schema}.schema_version ORDER BY 1") == [(n,) for n in range(1, NEWEST + 1)]


async def test_the_plan_changes_nothing_and_comes_true(schema: str) -> None:
    url = server().dsn(schema=schema)
    steps = await plan(url)
    assert len(steps) == NEWEST + 1
    assert steps[0] == f"create the schema {schema}"
    assert all(len(step) > 10 for step in steps)
    assert sql(f"SELECT to_regnamespace('{schema}')") == [(None,)]
    assert await look(url) is None
    assert await migrate(url) == NEWEST
    assert await plan(url) == []
    found = await look(url)
    assert found is not None
    assert (found.version, found.newest) == (NEWEST, NEWEST)
    assert "PostgreSQL" in found.about


async def test_an_older_schema_is_brought_up_with_what_it_holds(schema: str) -> None:
    store = await opened(server().dsn(schema=schema))
    await put(store, job(id="a"))
    await store.close()
    made_later = ", ".join(f"{schema}.{table}" for table in ("audit", "spent", "revoked", "revoking"))
    sql(
        f"DELETE FROM {schema}.schema_version WHERE version >= {OLDER}; DROP TABLE {made_later}; "
        f"CREATE OR REPLACE FUNCTION {schema}.wake(kind text) RETURNS void LANGUAGE sql AS ''"
    )
    assert len(await plan(server().dsn(schema=schema))) == NEWEST - OLDER + 1
    store = await opened(server().dsn(schema=schema))
    assert (await take_one(store)).id == "a"
    await store.close()
    assert sql(f"SELECT prosrc LIKE '%alone%' FROM pg_proc WHERE oid = '{schema}.wake'::regproc") == [(True,)]


async def test_a_newer_schema_is_used_while_it_allows_it(schema: str) -> None:
    """Daemons are not replaced in one moment: old ones survive a migration that only adds."""
    store = await opened(server().dsn(schema=schema))
    sql(
        f"INSERT INTO {schema}.schema_version (version, oldest_code) VALUES ({NEWEST + 1}, 0); "
        f"ALTER TABLE {schema}.jobs ADD COLUMN more text DEFAULT 'x'; ALTER TABLE {schema}.ended ADD COLUMN more text"
    )
    await put(store, job())
    await finish(store, await take_one(store))
    await store.close()
    later = await opened(server().dsn(schema=schema))
    assert (await later.counts()).completed == 1
    await later.close()
    assert await migrate(server().dsn(schema=schema)) == NEWEST + 1, "it is told how the tables are"
    sql(f"UPDATE {schema}.schema_version SET oldest_code = {NEWEST + 1} WHERE version = {NEWEST + 1}")
    with pytest.raises(StoreNotOurs, match="upgrade"):
        await opened(server().dsn(schema=schema))


async def test_a_schema_of_something_else_is_left_alone(schema: str) -> None:
    sql(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.customers (n int)")
    with pytest.raises(StoreNotOurs, match=r"\?schema="):
        await opened(server().dsn(schema=schema))
    assert sql(f"SELECT count(*) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace") == [(1,)]


async def test_a_role_without_rights_is_told_which(schema: str) -> None:
    role = f"r_{schema}"
    sql(f"CREATE ROLE {role} LOGIN")
    url = server().dsn(user=role, schema=schema)
    try:
        with pytest.raises(StoreUnavailable, match="CREATE SCHEMA"):
            await opened(url)
        assert sql(f"SELECT to_regnamespace('{schema}')") == [(None,)]
        sql(f"CREATE SCHEMA {schema} AUTHORIZATION {role}")
        store = await opened(url)
        await put(store, job())
        await finish(store, await take_one(store))
        assert await store.purge(1e9, 1e9) == 0
        await store.close()
        other = f"o_{schema}"
        sql(f"CREATE ROLE {other} LOGIN")
        with pytest.raises(StoreUnavailable, match="as their owner"):
            await opened(server().dsn(user=other, schema=schema))
        # it may do all but keep the tables of days, which only their owner can
        sql(
            f"GRANT ALL ON SCHEMA {schema} TO {other}; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {other}; "
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {other}; "
            f"GRANT ALL ON ALL FUNCTIONS IN SCHEMA {schema} TO {other}"
        )
        ((day,),) = sql(f"SELECT '{schema}.ended' || to_char(now() AT TIME ZONE 'UTC' + interval '1 day', '_YYYYMMDD')")
        sql(f"DROP TABLE {day}")
        store = await opened(server().dsn(user=other, schema=schema))
        with pytest.raises(StoreUnavailable, match=r"must be owner .* as their owner"):
            await store.purge(1e9, 1e9)
        await store.close()
        sql(f"DROP OWNED BY {other} CASCADE; DROP ROLE {other}")
    finally:
        sql(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


async def test_two_schemas_of_one_database_know_nothing_of_each_other(schema: str) -> None:
    first = await opened(server().dsn(schema=schema))
    second = await opened(server().dsn(schema=f"{schema}_too"))
    try:
        await put(first, job(id="a", key="app.work:k"))
        await put(second, job(id="a", input=b"2", key="app.work:k"))
        assert (await take_one(first)).input == b"{}"
        assert (await take_one(second)).input == b"2"
    finally:
        await first.close()
        await second.close()
        sql(f"DROP SCHEMA {schema}_too CASCADE")


async def test_the_usual_schema_needs_no_word(fresh_postgres: object) -> None:
    assert callable(fresh_postgres)
    store = await opened(fresh_postgres().url)
    await put(store, job())
    await finish(store, await take_one(store))
    await store.close()


async def test_a_commit_is_on_disk_though_the_server_was_told_otherwise(schema: str) -> None:
    """P1: an answer means that it survives; a server with synchronous_commit off does not mean us."""
    store = await opened(server().dsn(schema=schema, synchronous_commit="off"))
    db = await store._session.db()
    assert await db.raw.fetchval("SHOW synchronous_commit") == "on"
    await store.close()


def test_no_statement_is_left_in_the_usual_schema() -> None:
    from stoker.store.postgres.statements import migrations, named

    for text in (*named("other").values(), *(script for _, script in migrations("other"))):
        code = "\n".join(line.partition("--")[0] for line in text.splitlines())
        assert "stoker." not in code.replace("stoker.submit: %", "")
        assert "'stoker_" not in code
