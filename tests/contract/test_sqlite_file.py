"""The SQLite driver and its file: what is on the disk, and one sentence for each thing that can be wrong with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from stoker.model.errors import StoreError, StoreNotOurs, StoreReadOnly, StoreUnavailable
from stoker.model.job import State, Submitted
from stoker.store.base import Filter
from stoker.store.sqlite import SqliteStore
from tests.contract.inside import pragma
from tests.contract.make import finish, job, put, states, take

NOBODY = 65534
ROOT = os.geteuid() == 0


# ── durability ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_file_is_kept_as_safely_as_promised(file: SqliteStore, path: Path) -> None:
    assert await pragma(file, "synchronous") == 2, "FULL: an answered submission survives the loss of power"
    assert await pragma(file, "journal_mode") == "wal"
    assert await pragma(file, "application_id") == 0x53544B52
    await put(file, job())
    for written in path.parent.iterdir():
        assert stat.S_IMODE(written.stat().st_mode) == 0o600, written


async def test_sqlite_is_new_enough_for_the_wal_reset_bug_to_be_mended() -> None:
    assert apsw.SQLITE_VERSION_NUMBER >= 3_051_003


async def test_whatever_was_answered_is_on_the_disk(file: SqliteStore, path: Path, folder: Path) -> None:
    """A copy of the files, taken while the store works, holds every job that was acknowledged before."""
    # two files are copied one after the other: nothing may move from one to the other meanwhile
    await pragma(file, "wal_autocheckpoint", 0)
    for round in range(5):
        ids = await put(file, *(job() for _ in range(20)))
        await finish(file, *await take(file, 10))
        pending = [file.submit([job()]) for _ in range(20)]
        image = folder / f"image-{round}"
        image.mkdir()
        for name in ("stoker.db", "stoker.db-wal"):
            shutil.copy(folder / name, image / name)
        await asyncio.gather(*pending)
        copy = SqliteStore(image / "stoker.db")
        await copy.open()
        found = await states(copy, ids)
        assert found == await states(file, ids)
        await copy.close()


async def test_opening_and_closing_may_be_repeated(path: Path) -> None:
    store = SqliteStore(path)
    await store.close()
    store = SqliteStore(path)
    await store.open()
    await store.open()
    await put(store, job(id="a"))
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.submit([job()])
    store = SqliteStore(path)
    await store.open()
    assert (await store.get("a")).state is State.NEW
    await store.close()


async def test_closing_writes_what_is_pending(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    pending = [store.submit([job(id=f"p{number}")]) for number in range(100)]
    await store.close()
    assert await asyncio.gather(*pending) == [[Submitted(f"p{number}", True)] for number in range(100)]
    store = SqliteStore(path)
    await store.open()
    assert len(await store.jobs(Filter(limit=1000))) == 100
    await store.close()


# ── a file that is not what it should be ─────────────────────────────────────────────────────────────────────────────


def foreign(path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as db:
        db.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (42)")


def newer(path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as db:
        db.pragma("journal_mode", "wal")
        db.pragma("application_id", 0x53544B52)
        db.pragma("user_version", 4000)


def text(path: Path) -> None:
    path.write_text("these are my holiday notes\n" * 500)


def damaged(path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as db:
        db.pragma("application_id", 0x53544B52)
        db.execute("CREATE TABLE jobs (x); INSERT INTO jobs VALUES (zeroblob(100000))")
    found = bytearray(path.read_bytes())
    found[100:4096] = b"\xff" * 3996
    path.write_bytes(found)


def folder_instead(path: Path) -> None:
    path.mkdir()


def no_folder(path: Path) -> None:
    path.parent.rmdir()


WRONG: list[tuple[Callable[[Path], None], type[StoreError], str]] = [
    (foreign, StoreNotOurs, "another program"),
    (newer, StoreNotOurs, "newer Stoker .*upgrade"),
    (text, StoreNotOurs, "not a SQLite database"),
    (damaged, StoreUnavailable, "damaged"),
    (folder_instead, StoreUnavailable, "cannot open"),
    (no_folder, StoreUnavailable, "is its folder there"),
]


@pytest.mark.parametrize(("make", "error", "words"), WRONG, ids=[make.__name__ for make, *_ in WRONG])
async def test_a_wrong_file_is_refused_by_name_and_left_as_it_is(
    path: Path, make: Callable[[Path], None], error: type[StoreError], words: str
) -> None:
    (path.parent / "inner").mkdir()
    path = path.parent / "inner" / "stoker.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    store = SqliteStore(path)
    with pytest.raises(error, match=words) as caught:
        await store.open()
    assert str(path) in caught.value.message
    await store.close()
    assert (path.read_bytes() if path.is_file() else None) == before
    path.parent.mkdir(exist_ok=True)


async def test_damage_that_shows_later_is_told_and_does_not_end_the_store(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await put(store, *(job(input=b'"' + b"x" * 3000 + b'"') for _ in range(50)))
    await store.close()
    found = bytearray(path.read_bytes())
    pages = len(found) // 4096
    for page in range(pages - 30, pages - 1):  # of the jobs: the tables' own are in front
        found[page * 4096 : page * 4096 + 4096] = os.urandom(4096)
    path.write_bytes(found)
    store = SqliteStore(path)
    await store.open()
    with pytest.raises(StoreUnavailable, match="damaged"):
        await store.jobs(Filter(limit=100))
    assert await store.pauses() == frozenset()
    await store.close()


@pytest.fixture
def as_nobody(folder: Path) -> Iterator[Callable[[], None]]:
    """Call it to go on without the powers of root, for which no mode is a limit."""

    def drop() -> None:
        if ROOT:
            for found in (folder, *folder.rglob("*")):
                os.chown(found, NOBODY, NOBODY)
            os.seteuid(NOBODY)

    yield drop
    if ROOT:
        os.seteuid(0)
    folder.chmod(0o700)


async def test_a_file_that_may_not_be_written_is_told(path: Path, as_nobody: Callable[[], None]) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()
    path.chmod(0o400)
    as_nobody()
    store = SqliteStore(path)
    with pytest.raises(StoreReadOnly, match="cannot be written by this user"):
        await store.open()
    await store.close()


async def test_a_folder_that_may_not_be_written_is_told(path: Path, as_nobody: Callable[[], None]) -> None:
    as_nobody()
    path.parent.chmod(0o500)
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match="may this user write in it"):
        await store.open()
    await store.close()


async def test_a_folder_that_may_not_be_entered_is_told(path: Path, as_nobody: Callable[[], None]) -> None:
    as_nobody()
    path.parent.chmod(0o000)
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match="cannot open"):
        await asyncio.wait_for(store.open(), 20)
    await store.close()


HOSTILE = ["not json", "5", "[5]", "{}", '{"timeout":"x"}', "[" * 10_000, "\x00"]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:15]))
async def test_d37_a_row_that_somebody_wrote_by_hand_harms_no_other(file: SqliteStore, path: Path, text: str) -> None:
    await put(file, job(id="bad"), job(id="good", tags=("t",)), job(id="bad-too", run_at=file.now() + 1000))
    with contextlib.closing(apsw.Connection(str(path))) as db:
        db.execute("UPDATE jobs SET tags = ?1, overrides = ?1, progress = ?1, fault = ?1 WHERE id LIKE 'bad%'", (text,))
    assert [found.id for found in await file.jobs(Filter())] == ["bad-too", "good", "bad"]
    assert (await file.get("bad")).state is State.NEW
    claimed = await take(file)
    assert [one.id for one in claimed] == ["bad", "good"]
    assert claimed[1].tags == ("t",)
    assert len(await file.abandoned("another boot")) == 2
    await finish(file, *claimed)
    assert [found.id for found in await file.jobs(Filter(tag="t"))] == ["good"]
