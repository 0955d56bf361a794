"""Who a running job belongs to: a live one is never taken from its daemon, however busy or stopped that was."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing

from tests import ledger
from tests.crash.conftest import Make
from tests.daemon import Daemon, process, until


def asleep(daemon: Daemon, seconds: float) -> None:
    """Stop the router for a while, as a suspended laptop stops everything."""
    router = daemon.router
    os.kill(router, signal.SIGSTOP)
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end)
    os.kill(router, signal.SIGCONT)


def test_a_router_that_slept_longer_than_its_lease(make: Make) -> None:
    """P5, D9, O60: awake again it does not take its own jobs for lost: each runs once."""
    daemon = make("ledgered", lease=1, look=0.1)
    ids = [daemon.client.submit("led.work", {"gate": "sleep"}).id for _ in range(3)]
    daemon.wait_here("sleep", 3)
    for _ in range(2):
        asleep(daemon, 1.5)
        daemon.client.stats()
    looked = time.monotonic() + 0.5
    until(lambda: time.monotonic() > looked)
    daemon.open_gate("sleep")
    for id in ids:
        assert daemon.client.job(id).wait(20).attempt == 1
    assert "a lost job was found" not in daemon.log()
    ledger.check(daemon.folder, daemon.store, ids, faults=0, expect="completed")


def test_a_job_that_holds_its_interpreter(make: Make) -> None:
    """P5, D12, O60: the lease is renewed by the router, so a job busy in C for many leases keeps it; so does one whose
    machine is loaded by others."""
    daemon = make("ledgered", lease=1, look=0.1)
    hogs = [daemon.client.submit("led.holds_the_interpreter", {"seconds": 3.0}) for _ in range(2)]
    delayed = daemon.client.submit("led.work", delay=2.5)
    ids = [*(job.id for job in hogs), delayed.id]
    for id in ids:
        assert daemon.client.job(id).wait(20).attempt == 1
    assert "a lost job was found" not in daemon.log()
    ledger.check(daemon.folder, daemon.store, ids, faults=0, expect="completed")


def test_a_reaper_that_comes_too_late(make: Make) -> None:
    """D10 (river#1302): between the reaper's look and its write the job is completed by its owner; it stays so."""
    daemon = make("ledgered", failpoints=["before-reap:stop"], look=0.1)
    job = daemon.client.submit("led.work")
    job.wait(20)
    with closing(sqlite3.connect(daemon.store, isolation_level=None)) as db:
        db.execute("UPDATE jobs SET state = 'running', owner = 'another', finished = NULL, output = NULL")
        daemon.arm("before-reap")
        until(lambda: daemon.struck("before-reap"))
        router = daemon.router
        until(lambda: (found := process(router)) is not None and found.state == "T")
        db.execute("UPDATE jobs SET state = 'completed', owner = NULL, finished = updated, output = ?", [b'"theirs"'])
    os.kill(router, signal.SIGCONT)
    until(lambda: "a lost job was found" in daemon.log())
    daemon.client.call("led.work")
    record = job.record()
    assert (record.status, record.result(), record.attempt) == ("completed", "theirs", 1)


def test_a_running_job_of_a_dead_daemon_is_taken_up_at_once(make: Make) -> None:
    """O59, D7: not after a lease of minutes: a new boot of the same store knows that nobody works on it."""
    daemon = make("ledgered", lease=3600)
    job = daemon.client.submit("led.work", {"gate": "boot"})
    daemon.wait_here("boot")
    daemon.kill()
    daemon.open_gate("boot")
    begun = time.monotonic()
    daemon.start()
    assert job.wait(20).attempt == 2
    assert time.monotonic() - begun < 10
