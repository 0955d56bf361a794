"""Holding a store's file: one at a time, whatever becomes of the lock's file; who has it is told only if it is so."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stoker.client import offline
from stoker.model.errors import AlreadyRunning, StoreUnavailable
from stoker.store.sqlite import tending

HOLDER = (
    "import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(fd, fcntl.LOCK_EX); "
    "print(flush=True); sys.stdin.read()"
)
"""A program that holds the lock and says nothing of itself."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "new" / "stoker.db"


def lock_of(store: Path) -> Path:
    return Path(f"{store}.lock")


def refusal(store: Path) -> str:
    with pytest.raises(AlreadyRunning) as refused, offline.held(store):
        pass
    return str(refused.value)


def test_a_new_store_without_jobs_is_forgotten_and_can_be_held_anew(store: Path) -> None:
    with offline.held(store) as hold:
        assert hold.made
        tending.migrate(store)
        hold.forget()
        assert list(store.parent.iterdir()) == []
        with offline.held(store) as again:
            assert again.made


def test_a_store_with_a_job_or_one_that_was_there_is_not_forgotten(store: Path) -> None:
    with offline.held(store) as hold:
        tending.migrate(store)
        with closing(sqlite3.connect(store)) as db:
            db.execute("PRAGMA ignore_check_constraints = ON")
            columns = [row for row in db.execute("PRAGMA table_info(jobs)") if row[3] and row[4] is None]
            values = {row[1]: {"TEXT": "x", "BLOB": b"x"}.get(row[2], 1) for row in columns}
            db.execute(
                f"INSERT INTO jobs ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", [*values.values()]
            )
            db.commit()
        hold.forget()
        assert tending.has_jobs(store)
        assert lock_of(store).exists()
    other = store.with_name("other.db")
    tending.migrate(other)
    with offline.held(other) as hold:
        assert not hold.made
        hold.forget()
    assert other.exists()
    assert not tending.has_jobs(other)


def test_what_cannot_be_looked_into_is_not_forgotten(store: Path) -> None:
    with offline.held(store) as hold:
        store.write_bytes(b"somebody's letter" * 100)
        hold.forget()
    assert store.exists()


def test_a_lock_whose_file_was_taken_away_meanwhile_is_taken_anew(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking the holder forgets its store: two must not hold two different files."""
    taken: list[int] = []
    flock = fcntl.flock

    def late(fd: int, how: int) -> None:
        if not taken:
            taken.append(os.fstat(fd).st_ino)
            lock_of(store).rename(store.with_name("gone"))
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with offline.held(store):
        assert taken
        assert lock_of(store).stat().st_ino != taken[0]
        refusal(store)


def test_a_lock_that_can_never_be_made_is_no_endless_loop(store: Path) -> None:
    store.parent.mkdir()
    lock_of(store).symlink_to(store.parent / "nowhere" / "at all")
    with pytest.raises(StoreUnavailable, match="cannot hold"), offline.held(store):
        pass


def test_who_holds_it_is_told_by_its_number(store: Path) -> None:
    with offline.held(store) as hold:
        assert f"another daemon works on {store} (pid {os.getpid()})" in refusal(store)
        hold.leaving()
        assert f"started before (pid {os.getpid()}) is finishing its jobs" in refusal(store)
    with offline.held(store):
        assert "finishing" not in refusal(store)


STALE = (f"{os.getpid()} leaving\n", "4194999 leaving\n", "nonsense\n", "", "\xff")


@pytest.mark.parametrize("stale", STALE, ids=["ours", "nobody", "words", "empty", "bytes"])
def test_a_stale_number_is_not_told(store: Path, stale: str) -> None:
    """This process is alive, but it is not who has the file."""
    store.parent.mkdir()
    lock_of(store).write_text(stale, "latin-1")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock_of(store))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        holder.stdout.readline()
        assert refusal(store) == f"another daemon works on {store}; a store belongs to one daemon at a time"
        holder.stdin.close()
