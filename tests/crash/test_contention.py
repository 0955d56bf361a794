"""D3: many processes at one store; strangers that hold its locks; and all that at one time."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing

from stoker import Client
from tests import ledger
from tests.crash.conftest import Make
from tests.daemon import LOADED, Daemon, scaled, until

CLIENTS = 4
WAL_MAX = 64 << 20


def submit_in_a_child(daemon: Daemon, count: int, name: str) -> int:
    """A client process of its own: submits, writes its ids and latencies down; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        client = Client(settings=daemon.settings)
        with open(daemon.file(f"{name}.client"), "w") as out:
            for number in range(count):
                begun = time.monotonic()
                id = client.submit("led.work", id=f"{name}-{number}").id
                out.write(f"{id} {time.monotonic() - begun}\n")
        os._exit(0)
    finally:
        os._exit(1)


def test_many_clients_and_a_reader_that_will_not_leave(make: Make) -> None:
    """D3: no caller ever sees a lock; the wait is short; and when the reader has gone, the write-ahead log is small."""
    daemon = make("ledgered", consumers_max=2)
    with closing(sqlite3.connect(f"file:{daemon.store}?mode=ro", uri=True, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM jobs").fetchone()
        count = scaled(50, 10)
        children = [submit_in_a_child(daemon, count, f"c{number}") for number in range(CLIENTS)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        assert codes == [0] * CLIENTS, "every submission of every client was answered well"
    files = [daemon.file(f"c{number}.client").read_text() for number in range(CLIENTS)]
    told = [line.split() for text in files for line in text.splitlines()]
    ids, waits = [one[0] for one in told], sorted(float(one[1]) for one in told)
    until(lambda: not ledger.unfinished(daemon.store, ids), 60)
    ledger.check(daemon.folder, daemon.store, ids, faults=0, expect="completed")
    wal = daemon.store.with_name("stoker.db-wal")
    until(lambda: wal.stat().st_size <= WAL_MAX, 30)
    assert "locked" not in daemon.log()
    p99 = waits[int(len(waits) * 0.99)]
    print(f"D3: {len(ids)} submissions by {CLIENTS} processes, p50 {waits[len(waits) // 2]:.4f} s, p99 {p99:.4f} s")
    assert p99 < LOADED


def test_a_stranger_holds_the_write_lock(make: Make) -> None:
    """D3: a backup tool or a person at a prompt: submissions wait for it and succeed, and running jobs are settled."""
    daemon = make("ledgered")
    running = daemon.client.submit("led.work", {"gate": "stranger"})
    daemon.wait_here("stranger")
    with closing(sqlite3.connect(daemon.store, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        held = threading.Timer(1.0, stranger.interrupt)
        submitted: list[str] = []
        client = daemon.another_client()
        waiting = threading.Thread(target=lambda: submitted.append(client.submit("led.work").id))
        waiting.start()
        daemon.open_gate("stranger")
        held.start()
        held.join()
        assert submitted == [], "nothing is acknowledged while nothing can be written"
        stranger.execute("ROLLBACK")
        waiting.join(20)
    ids = [running.id, *submitted]
    for id in ids:
        assert daemon.client.job(id).wait(20).status == "completed"
    ledger.check(daemon.folder, daemon.store, ids, faults=0)


def test_a_stranger_holds_it_longer_than_anybody_waits(make: Make) -> None:
    """D3, O63: the caller gets one clear sentence; what had ended meanwhile is written when the lock is free again."""
    daemon = make("ledgered", lease=30)
    running = daemon.client.submit("led.work", {"gate": "long"})
    daemon.wait_here("long")
    with closing(sqlite3.connect(daemon.store, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        daemon.open_gate("long")
        with daemon.raw() as raw:
            answer = raw.call(1, "submit", command="led.work")
        assert (answer["type"], answer["code"]) == ("error", "store_busy")
        assert "is locked by another program" in answer["message"]
        until(lambda: "endings could not be written; trying again" in daemon.log())
        assert running.status() == "running"
        stranger.execute("ROLLBACK")
    assert running.wait(20).attempt == 1
    ledger.check(daemon.folder, daemon.store, [running.id], faults=0, expect="completed")
