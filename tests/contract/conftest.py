"""The contract suite runs every test on every place that has what the test needs."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.store.base import Store
from stoker.store.sqlite import SqliteStore
from tests.contract.places import PLACES, Place, PostgresPlace


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        needed: frozenset[str] = getattr(metafunc.function, "__needs__", frozenset())
        names = [name for name, place in PLACES.items() if needed <= place.capabilities]
        metafunc.parametrize("place", names, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on the loop of its fixtures."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    runner = pyfuncitem.funcargs["runner"]
    assert isinstance(runner, asyncio.Runner)
    names = inspect.signature(pyfuncitem.obj).parameters
    runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(autouse=True)
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may pass through, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="stoker-contract-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def place(request: pytest.FixtureRequest, folder: Path, runner: asyncio.Runner) -> Iterator[Place]:
    made = PLACES[request.param](folder)
    yield made
    runner.run(made.close())


@pytest.fixture
def store(place: Place, runner: asyncio.Runner) -> Store:
    return runner.run(place.open())


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "stoker.db"


@pytest.fixture
def file(path: Path, runner: asyncio.Runner) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    runner.run(store.open())
    yield store
    runner.run(store.close())


@pytest.fixture
def pg(folder: Path, runner: asyncio.Runner) -> Iterator[PostgresPlace]:
    """For the tests of the PostgreSQL driver itself: a place with its tables made."""
    made = PostgresPlace(folder)
    runner.run(made.open())
    yield made
    runner.run(made.close())
