"""The ledger: what happened, written down by the jobs themselves and judged by nobody of the product.

Jobs append ``[job, attempt, "begin" | "end", pid]`` (``tests.apps.kit.enter``) with one write each; the client keeps
its list of acknowledged ids; the third witness is the store, read without the product. :func:`check`
proves from the three of them:

* acknowledged minus ended is empty: nothing that was promised is lost;
* one outcome per job, and a completed one is the outcome of an attempt that came to its end;
* starts per job are at most one more than the faults that were injected;
* no end of an old attempt was accepted: the recorded attempt is the newest that began.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

ENDED = ("completed", "failed", "cancelled")


class Entry(NamedTuple):
    job: str
    attempt: int
    what: str
    pid: int


class Row(NamedTuple):
    id: str
    state: str
    attempt: int
    fence: int
    fault: str | None
    output: bytes | None


def entries(folder: Path) -> list[Entry]:
    """What the jobs wrote, in order. Every entry is one write, but a reader may come in the middle of one (the kernel
    shows a write that crosses a page piece by piece): what has no end of line yet is not there yet."""
    path = folder / "ledger"
    whole, _, _ = path.read_text().rpartition("\n") if path.exists() else ("", "", "")
    return [Entry(*json.loads(line)) for line in whole.splitlines()]


Rows = Callable[[], dict[str, Row]]
"""Reads the jobs of a store that is no file (:meth:`tests.fleet.Fleet.rows`)."""


def rows(store: Path | Rows) -> dict[str, Row]:
    """The jobs as they stand in the store, by id."""
    if not isinstance(store, Path):
        return store()
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)) as db:
        found = db.execute("SELECT id, state, attempt, fence, fault, output FROM jobs").fetchall()
    return {row[0]: Row(*row) for row in found}


@contextmanager
def writing(store: Path) -> Iterator[sqlite3.Connection]:
    """Write into the file behind the product's back."""
    with closing(sqlite3.connect(store, timeout=10, isolation_level=None)) as db:
        yield db


def sound(store: Path) -> bool:
    """Whether SQLite finds the file whole. Call it when no daemon writes."""
    with closing(sqlite3.connect(store, timeout=10)) as db:
        return [row[0] for row in db.execute("PRAGMA integrity_check")] == ["ok"]


def unfinished(store: Path | Rows, acknowledged: Collection[str]) -> set[str]:
    """Acknowledged jobs that have not ended, or are not there at all."""
    there = rows(store)
    return {id for id in acknowledged if id not in there or there[id].state not in ENDED}


def check(
    folder: Path,
    store: Path | Rows,
    acknowledged: Sequence[str],
    *,
    faults: int | Mapping[str, int],
    expect: str | None = None,
) -> None:
    """Prove the four rules. ``faults`` is how many there were, or how many hit each job; ``expect`` is the state that
    every acknowledged job must have ended in."""
    there, written = rows(store), entries(folder)
    assert len(set(acknowledged)) == len(acknowledged), "an id was acknowledged for two submissions"
    assert unfinished(store, acknowledged) == set(), "acknowledged, and not ended"
    for id in there:
        mine = [entry for entry in written if entry.job == id]
        _check_job(there[id], mine, faults if isinstance(faults, int) else faults.get(id, 0))
        if expect is not None and id in acknowledged:
            assert there[id].state == expect, there[id]


def _check_job(row: Row, mine: Sequence[Entry], faults: int) -> None:
    begins = [entry for entry in mine if entry.what == "begin"]
    ends = [entry for entry in mine if entry.what == "end"]
    assert len(begins) <= 1 + faults, f"{len(begins)} starts with {faults} faults: {mine}"
    assert len({entry.pid for entry in begins}) == len(begins), f"two attempts in one process: {mine}"
    if row.state != "completed":
        return
    output = json.loads(row.output or b"null")
    winner = (output["attempt"], output["pid"])
    assert winner in [(entry.attempt, entry.pid) for entry in ends], f"completed by nobody who came to its end: {row}"
    newest = begins[-1]
    assert winner == (newest.attempt, newest.pid), f"the end of an old attempt was accepted: {row} {mine}"
    assert row.fence == row.attempt or row.fence > row.attempt, f"the fence went back: {row}"
