"""D6, D13: jobs that are killed, and jobs that kill themselves each time."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator

import pytest

from stoker import JobFailed
from stoker.model.errors import StokerError
from tests import ledger
from tests.crash.conftest import Make
from tests.daemon import LOADED, Daemon, scaled, until


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("ledgered", consumers_max=2) as daemon:
        yield daemon


def test_kill_nine_at_random_points(make: Make) -> None:
    """D6, P3, P4: consumers are killed wherever they are; each loss is noticed within a second, counted, and tried
    again; nothing is lost and nothing ends twice."""
    chance = random.Random(6)
    daemon = make("ledgered", consumers_max=4)
    kills, wanted = collections.Counter[str](), scaled(40, 10)
    jobs = daemon.client.submit_many("led.mortal", [{"seconds": 0.15}] * wanted)
    ids = [job.id for job in jobs]
    noticed = []
    while sum(kills.values()) < wanted and ledger.unfinished(daemon.store, ids):
        found = [one for one in daemon.processes("consumer") if kills[one.title.split()[-1]] < 5]
        if not found:
            continue
        victim = chance.choice(found)
        id = victim.title.split()[-1]
        pid = victim.pid
        begun = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            kills[id] += 1
            until(lambda pid=pid: pid not in [slot["pid"] for slot in daemon.client.stats()["slots"]])  # type: ignore[misc]
            noticed.append(time.monotonic() - begun)
    until(lambda: not ledger.unfinished(daemon.store, ids), 60)
    ledger.check(daemon.folder, daemon.store, ids, faults=kills, expect="completed")
    print(f"D6: {sum(kills.values())} kills, noticed within {max(noticed):.3f} s at worst")
    assert len(noticed) >= wanted / 2
    assert max(noticed) < 1.0 + LOADED


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("segv", "signal 11 (SIGSEGV)"),
        ("exit0", "exit 0 without a result"),
        ("sysexit", "sys.exit(0)"),
        ("oom", "signal 9 (SIGKILL)"),
        ("error", "ValueError"),
    ],
)
def test_a_poison_job_is_set_aside(daemon: Daemon, how: str, says: str) -> None:
    """D6, D13, P6: it starts exactly as often as it may, crashes counted; then it is failed, kept, and can be run
    again; exit 0 without a result is no success; and the others' work goes on meanwhile."""
    poison = daemon.client.submit("led.poison", {"how": how})
    others = [job.id for job in daemon.client.submit_many("led.work", [{}] * 10)]
    with pytest.raises(JobFailed) as caught:
        poison.result(30)
    assert says in caught.value.message
    begins = [entry for entry in ledger.entries(daemon.folder) if entry.job == poison.id]
    assert [entry.attempt for entry in begins] == [1, 2, 3]
    for id in others:
        daemon.client.job(id).wait(20)
    poisoned = [record.id for record in daemon.client.jobs(command="led.poison", limit=100)]
    ledger.check(daemon.folder, daemon.store, others, faults=dict.fromkeys(poisoned, 5))
    assert poison.retry().status in ("new", "running")
    assert poison.wait(20).attempt == 3
    assert len([entry for entry in ledger.entries(daemon.folder) if entry.job == poison.id]) == 6


def test_undecodable_and_unknown(make: Make) -> None:
    """D13, D37 in part: rows that no client could have written: ended with a sentence each, in no endless loop."""
    daemon = make("ledgered", begin=False, look=0.2)
    ids = [daemon.client.submit("led.work", id=f"bad-{number}").id for number in range(4)]
    bad = [b"not json", b'{"gate": 5}', b"\xff\xfe", b'{"seconds": "1e999"}']
    with ledger.writing(daemon.store) as db:
        for id, value in zip(ids, bad, strict=True):
            db.execute("UPDATE jobs SET input = ? WHERE id = ?", (value, id))
        db.execute("UPDATE jobs SET command = 'os.system' WHERE id = 'bad-0'")
    daemon.start()
    errors = [str(daemon.client.job(id).wait(20).error) for id in ids]
    assert "no product registers 'os.system'" in errors[0]
    assert all("InvalidInput" in error for error in errors[1:]), errors
    assert ledger.entries(daemon.folder) == []
    with pytest.raises(StokerError):
        daemon.client.submit("led.work", id="")
    assert daemon.client.call("led.work")["attempt"] == 1


def test_of_what_may_start_only_once_little_is_taken_ahead(make: Make) -> None:
    """P6: the daemon is killed in the middle of many fast jobs. Nobody knows of those that it had claimed whether they
    began, so they fail; that is no more than the worker was at and the next in line."""
    daemon = make("letters")
    jobs = daemon.client.submit_many("letters.send", [{"number": number} for number in range(400)])
    ids = {job.id for job in jobs}
    daemon.wait_here("letters")
    daemon.kill()
    daemon.start()
    until(lambda: not ledger.unfinished(daemon.store, ids), 60)
    failed = [job for job in jobs if job.record().status == "failed"]
    begun = collections.Counter(entry.job for entry in ledger.entries(daemon.folder))
    assert set(begun.values()) == {1}
    assert ids - set(begun) <= {job.id for job in failed}
    assert len(failed) <= 3, f"{len(failed)} failed"
