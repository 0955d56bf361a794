"""The SQLite driver in trouble: somebody else holds the lock, or the disk is full. Each is told and got over."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from stoker.model.errors import StoreBusy, StoreFull, StoreUnavailable
from stoker.model.job import State
from stoker.store.sqlite import SqliteStore, connection
from tests.contract.inside import pragma
from tests.contract.make import done, job, put, states, take, take_one

ROOT = os.geteuid() == 0


# ── somebody else holds the lock ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_lock_that_is_held_too_long_is_told_once_to_all_who_wait(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 200)
    store = SqliteStore(path)
    await store.open()
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    answers = await asyncio.gather(*(store.submit([job()]) for _ in range(200)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreBusy] * 200
    assert "locked by another program" in str(answers[0])
    assert time.monotonic() - begun < 10, "one after the other they would have waited 40 s"
    assert (await store.counts()).new == 0, "reading goes on meanwhile"
    other.execute("ROLLBACK")
    other.close()
    await put(store, job())
    await store.close()


async def test_a_lock_that_is_held_at_the_start_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 100)
    store = SqliteStore(path)
    await store.open()
    await store.close()
    other = apsw.Connection(str(path))
    other.execute("BEGIN EXCLUSIVE")
    store = SqliteStore(path)
    with pytest.raises(StoreBusy):
        await store.open()
    await store.close()
    other.close()


async def test_a_short_lock_is_waited_for(file: SqliteStore, path: Path) -> None:
    """jentic-one#529: a claim that reads first and writes then fails at once; ours takes the lock first."""
    await put(file, job())
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE; INSERT INTO pauses VALUES ('elsewhere', 1)")
    pending = asyncio.ensure_future(take(file))
    await asyncio.wait([pending], timeout=0.3)
    assert not pending.done()
    other.execute("COMMIT")
    other.close()
    assert len(await pending) == 1


# ── no space ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def mount(folder: Path, *options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class PageLimit:
    """As many pages as there are and few more: what any user can try."""

    async def fill(self, store: SqliteStore) -> None:
        pages = await pragma(store, "page_count")
        await pragma(store, "max_page_count", pages + 5)

    async def clear(self, store: SqliteStore) -> None:
        await pragma(store, "max_page_count", 1 << 30)


class SmallDisk:
    """A real file system of one megabyte, for root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def fill(self, store: SqliteStore) -> None:
        pass

    async def clear(self, store: SqliteStore) -> None:
        assert mount(self.folder, "remount", "size=32m")


@pytest.fixture(params=["page limit", "file system"] if ROOT else ["page limit"])
def disk(request: pytest.FixtureRequest, folder: Path) -> Iterator[PageLimit | SmallDisk]:
    if request.param == "page limit":
        yield PageLimit()
        return
    assert mount(folder, "size=1m"), "root can mount a tmpfs"
    yield SmallDisk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_is_told_loses_nothing_and_is_got_over(
    disk: PageLimit | SmallDisk, path: Path, runner: asyncio.Runner
) -> None:
    store = SqliteStore(path)
    await store.open()
    kept = await put(store, job(id="first"), job(id="second"))
    running = await take_one(store)
    await disk.fill(store)
    large = b'"' + b"x" * 100_000 + b'"'
    refused: list[str] = []
    for number in range(30):
        try:
            kept += await put(store, job(id=f"large-{number}", input=large))
        except StoreFull as error:
            refused.append(error.message)
    assert refused
    assert all("full" in message for message in refused)
    assert await states(store, kept) == [State.RUNNING] + [State.NEW] * (len(kept) - 1)
    await disk.clear(store)
    assert await store.settle([done(running, large)]) == [True]
    await put(store, job(id="after"))
    assert len(await take(store)) == len(kept)
    await store.close()


# ── the file is taken away ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("replaced", [False, True])
async def test_nothing_is_acknowledged_into_a_file_that_is_not_there_any_more(path: Path, replaced: bool) -> None:
    store = SqliteStore(path)
    await store.open()
    (kept,) = await put(store, job())
    away = path.rename(path.with_name("away.db"))
    if replaced:
        path.write_bytes(b"")
    for asked in (store.submit([job()]), store.get(kept)):
        with pytest.raises(StoreUnavailable, match="moved, deleted or replaced"):
            await asked
    away.replace(path)
    await put(store, job())
    assert (await store.counts()).new == 2, "put back, it goes on, and nothing was acknowledged meanwhile"
    await store.close()
