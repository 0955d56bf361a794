"""A job stored by the application's own transaction, through every kind of connection an application may have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from django import conf
from django.apps import apps
from django.db.utils import ConnectionHandler
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from stoker import InvalidInput, Product, Unique, asubmit_in, submit_in
from stoker.model.errors import DuplicateJob, IdConflict, RequestError
from stoker.model.job import OnDuplicate
from tests.daemon import Daemon
from tests.fleet import Fleet

shop = Product("fleet")


@shop.command(priority=5)
def echo(text: str, times: int = 1) -> str:
    """The application's own declaration of a command that the daemon runs."""
    return text * times


@pytest.fixture
def node(fleet: Fleet) -> Daemon:
    return fleet.node("a", "fleet")


Open = Callable[[Fleet], AbstractContextManager[tuple[Any, Callable[[], None], Callable[[], None]]]]


@contextmanager
def plain(fleet: Fleet) -> Iterator[tuple[Any, Callable[[], None], Callable[[], None]]]:
    with psycopg.connect(fleet.url()) as connection:
        yield connection, connection.commit, connection.rollback


@contextmanager
def mapping(fleet: Fleet) -> Iterator[tuple[Any, Callable[[], None], Callable[[], None]]]:
    with psycopg.connect(fleet.url(), row_factory=dict_row) as connection:
        yield connection, connection.commit, connection.rollback


@contextmanager
def session(fleet: Fleet) -> Iterator[tuple[Any, Callable[[], None], Callable[[], None]]]:
    engine = sqlalchemy.create_engine(fleet.url().replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as made:
        yield made, made.commit, made.rollback
    engine.dispose()


@contextmanager
def core(fleet: Fleet) -> Iterator[tuple[Any, Callable[[], None], Callable[[], None]]]:
    engine = sqlalchemy.create_engine(fleet.url().replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        yield connection, connection.commit, connection.rollback
    engine.dispose()


@contextmanager
def django(fleet: Fleet) -> Iterator[tuple[Any, Callable[[], None], Callable[[], None]]]:
    if not conf.settings.configured:
        conf.settings.configure(USE_TZ=True)
        apps.populate([])
    with psycopg.connect(fleet.url()) as at:
        where = {"HOST": at.info.host, "PORT": at.info.port, "NAME": at.info.dbname, "USER": at.info.user}
    made = ConnectionHandler({"default": {"ENGINE": "django.db.backends.postgresql", **where}})["default"]
    made.set_autocommit(False)
    yield made, made.commit, made.rollback
    made.close()


@pytest.mark.parametrize("opened", [plain, mapping, session, core, django])
def test_it_is_there_when_the_transaction_commits_and_only_then(fleet: Fleet, node: Daemon, opened: Open) -> None:
    with opened(fleet) as (connection, commit, rollback):
        lost = echo.submit_in(connection, "never")
        rollback()
        kept = echo.submit_in(connection, "ab", times=2, user="u7", tags=["t"])
        named = submit_in(connection, "fleet.echo", {"text": "c"}, delay=0.0)
        assert fleet.rows() == {}, "nobody sees it before"
        commit()
    assert node.client.job(kept).result(20) == "abab"
    assert node.client.job(named).result(20) == "c"
    record = node.client.job(kept).record()
    assert (record.user, record.tags, record.priority) == ("u7", ("t",), 5)
    with pytest.raises(RequestError, match="there is no job"):
        node.client.job(lost).record()


def test_the_awaitable_form(fleet: Fleet, node: Daemon) -> None:
    async def work() -> list[str]:
        ids = []
        plain: Any = await asyncpg.connect(fleet.url())
        async with plain.transaction():
            ids.append(await echo.asubmit_in(plain, "a"))
        lost = plain.transaction()
        await lost.start()
        await asubmit_in(plain, echo, "lost")
        await lost.rollback()
        await plain.close()
        async with await psycopg.AsyncConnection.connect(fleet.url()) as other:
            ids.append(await echo.asubmit_in(other, "b"))
        for driver in ("asyncpg", "psycopg"):
            engine = create_async_engine(fleet.url().replace("postgresql://", f"postgresql+{driver}://"))
            async with AsyncSession(engine) as made:
                ids.append(await echo.asubmit_in(made, driver))
                await made.commit()
            await engine.dispose()
        return ids

    ids = asyncio.run(work())
    assert [node.client.job(id).result(20) for id in ids] == ["a", "b", "asyncpg", "psycopg"]
    assert len(fleet.rows()) == 4


@pytest.mark.parametrize("opened", [plain, session])
@pytest.mark.usefixtures("node")
def test_refusals_are_those_of_any_submission(fleet: Fleet, opened: Open) -> None:
    with opened(fleet) as (connection, commit, rollback):
        with pytest.raises(InvalidInput, match="times"):
            echo.submit_in(connection, "a", times="many")
        first = echo.submit_in(connection, "a", id="mine")
        assert echo.submit_in(connection, "a", id="mine") == first, "the same id is the same job"
        commit()
        with pytest.raises(IdConflict, match="mine"):
            echo.submit_in(connection, "other", id="mine")
        rollback()
        only = Unique(key="k", on_duplicate=OnDuplicate.REJECT)
        echo.submit_in(connection, "a", unique=only, delay=60)
        with pytest.raises(DuplicateJob):
            echo.submit_in(connection, "b", unique=only)
        rollback()
        with pytest.raises(RequestError, match="priority"):
            submit_in(connection, "fleet.echo", {"text": "a"}, priority=1000)


@pytest.mark.parametrize("opened", [plain, session])
@pytest.mark.usefixtures("node")
def test_a_value_that_the_server_cannot_hold_is_refused(fleet: Fleet, opened: Open) -> None:
    with opened(fleet) as (connection, _, rollback):
        for text, options in (("nul \0", {}), ("late", {"expires": 1e15})):
            with pytest.raises(RequestError, match="this cannot be stored"):
                echo.submit_in(connection, text, **options)
            rollback()


def test_unique_by_its_input_is_the_same_key_as_through_the_daemon(fleet: Fleet, node: Daemon) -> None:
    with psycopg.connect(fleet.url()) as connection:
        mine = echo.submit_in(connection, "same", unique=True, delay=60)
        connection.commit()
    assert node.client.submit(echo, "same", unique=True).id == mine


def test_a_database_without_the_function_is_told_by_the_driver(fleet: Fleet) -> None:
    with psycopg.connect(fleet.server.url) as connection, pytest.raises(psycopg.errors.Error, match=r"stoker"):
        echo.submit_in(connection, "a")
