"""The way of a job, killed at every step by a real SIGKILL: DESIGN part 4, one machine."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing

import pytest

from stoker.model.errors import DaemonError
from tests import ledger
from tests.crash.conftest import Make
from tests.daemon import LOADED, alive, process, until

STEPS = ("after-submit", "before-claim", "after-claim", "before-settle", "after-settle", "before-reap")


@pytest.mark.parametrize("step", STEPS)
def test_the_router_is_killed_at(make: Make, step: str) -> None:
    """Whatever the step: what was acknowledged is done, by one accepted end, and each job starts once more at most."""
    daemon = make("ledgered", failpoints=[f"{step}:kill"], consumers_max=3)
    ids = [daemon.client.submit("led.work").id for _ in range(5)]
    router = daemon.router
    if step != "before-reap":
        daemon.arm(step)
    ids += [daemon.client.submit("led.work", id=f"armed-{number}").id for number in range(5)]
    if step == "before-reap":
        # a look for lost jobs comes every half second
        daemon.arm(step)
    until(lambda: daemon.struck(step), what=f"the lightning at {step}")
    until(lambda: not alive(router))
    ids += [daemon.client.submit("led.work").id for _ in range(3)]
    for id in ids:
        daemon.client.job(id).wait(30)
    assert daemon.router != router
    ledger.check(daemon.folder, daemon.store, ids, faults=1, expect="completed")
    assert daemon.stop() == 0
    assert ledger.sound(daemon.store)


def test_killed_during_submit_is_all_or_nothing(make: Make) -> None:
    """Row 1, P2, D5: the answer is lost; sent again with the same id it is the same job, and another payload under
    this id is refused."""
    daemon = make("ledgered", failpoints=["after-submit:kill"])
    daemon.arm("after-submit")
    with daemon.client.line() as line, pytest.raises(DaemonError):
        line.ask("submit", {"command": "led.work", "id": "once-only"}, object)
    assert daemon.struck("after-submit")
    again = daemon.client.submit("led.work", id="once-only")
    assert not again.created, "it was committed before the kill"
    assert again.wait(30).status == "completed"
    with pytest.raises(Exception, match="used before"):
        daemon.client.submit("led.work", {"gate": "another"}, id="once-only")
    ledger.check(daemon.folder, daemon.store, ["once-only"], faults=0, expect="completed")


def test_the_client_submits_again_by_itself(make: Make) -> None:
    """Row 1, D5: a plain submit over a kept connection survives the kill of the router: one job, and no error."""
    daemon = make("ledgered", failpoints=["after-submit:kill"])
    daemon.client.ask("ping")
    daemon.arm("after-submit")
    job = daemon.client.submit("led.work")
    assert job.wait(30).status == "completed"
    assert len(daemon.client.jobs(limit=100)) == 1


def test_after_commit_before_wake(make: Make) -> None:
    """Row 2: the job is new and due in a store whose daemon knows nothing of it; the timed look finds it."""
    daemon = make("ledgered", begin=False)
    ids = [daemon.client.submit("led.work").id for _ in range(3)]
    daemon.start()
    for id in ids:
        daemon.client.job(id).wait(20)
    ledger.check(daemon.folder, daemon.store, ids, faults=0, expect="completed")


def test_after_claim_before_assign(make: Make) -> None:
    """Row 3: running in the store, and no process has it: the next daemon counts the attempt and starts it again."""
    daemon = make("ledgered", failpoints=["after-claim:kill"])
    daemon.arm("after-claim")
    job = daemon.client.submit("led.work", id="claimed")
    until(lambda: daemon.struck("after-claim"))
    record = job.wait(30)
    assert (record.status, record.attempt) == ("completed", 2)
    assert [entry.what for entry in ledger.entries(daemon.folder)] == ["begin", "end"], "it never began the first time"
    outcomes = [event.value()["error"] for event in job.events() if event.kind == "attempt"]
    assert outcomes == ["Lost: the daemon that ran it went away"]


def test_the_consumer_dies_in_the_job(make: Make) -> None:
    """Row 4, P4: the signal is named on the record within a second."""
    daemon = make("ledgered")
    job = daemon.client.submit("led.work", {"gate": "dies"})
    (pid,) = daemon.wait_here("dies")
    os.kill(pid, signal.SIGKILL)
    until(lambda: job.record().ended, 1.0 + LOADED, "noticed")
    assert job.record().error == "Killed: signal 9 (SIGKILL); perhaps the machine ran out of memory"
    ledger.check(daemon.folder, daemon.store, [job.id], faults=0, expect="failed")


def test_after_run_before_settle(make: Make) -> None:
    """Row 6: the handler ran, and nobody wrote it down: it runs again. At least once, said aloud."""
    daemon = make("ledgered", failpoints=["before-settle:kill"])
    daemon.arm("before-settle")
    job = daemon.client.submit("led.work", id="again")
    assert job.wait(30).attempt == 2
    assert [entry.what for entry in ledger.entries(daemon.folder)] == ["begin", "end"] * 2
    ledger.check(daemon.folder, daemon.store, ["again"], faults=1, expect="completed")


def test_a_command_that_must_not_start_twice(make: Make) -> None:
    """Row 6: declared ``once`` it fails instead, and says why."""
    daemon = make("ledgered")
    job = daemon.client.submit("led.once", {"gate": "once"})
    daemon.wait_here("once")
    os.kill(daemon.router, signal.SIGKILL)
    record = job.wait(30)
    assert (record.status, record.error) == ("failed", "Lost: the daemon that ran it went away")
    assert len(daemon.here("once")) == 1


def test_a_late_report_is_refused(make: Make) -> None:
    """Row 7, P3, D9, D11: the router stops dead between a job's end and its record; meanwhile the job is taken from it,
    as another node would; awake again it writes nothing, and the job's end is that of a newer attempt."""
    daemon = make("ledgered", failpoints=["before-settle:stop"])
    daemon.arm("before-settle")
    job = daemon.client.submit("led.work", id="late")
    until(lambda: daemon.struck("before-settle"))
    router = daemon.router
    until(lambda: (found := process(router)) is not None and found.state == "T")
    with closing(sqlite3.connect(daemon.store, isolation_level=None)) as db:
        db.execute("UPDATE jobs SET fence = fence + 1, attempt = attempt + 1, owner = 'another' WHERE id = 'late'")
    os.kill(router, signal.SIGCONT)
    until(lambda: "a late ending was refused" in daemon.log())
    record = job.wait(30)
    first, *_, last = [entry.pid for entry in ledger.entries(daemon.folder)]
    assert (record.status, record.result()["pid"]) == ("completed", last)
    assert first != last
    ledger.check(daemon.folder, daemon.store, ["late"], faults=1, expect="completed")


def test_the_zygote_dies(make: Make) -> None:
    """Row 8, O57, O58: its jobs are settled, a new zygote is up in under a second, and the jobs run in it."""
    daemon = make("ledgered")
    ids = [daemon.client.submit("led.work", {"gate": "zygote"}).id for _ in range(4)]
    pids = daemon.wait_here("zygote", 4)
    router, zygote = daemon.router, daemon.zygote
    os.kill(zygote, signal.SIGKILL)
    until(lambda: daemon.pids("zygote") and daemon.zygote != zygote, 1.0 + LOADED)
    until(lambda: not any(alive(pid) for pid in pids), what="no job outlives its zygote")
    daemon.open_gate("zygote")
    for id in ids:
        assert daemon.client.job(id).wait(20).attempt == 2
    assert daemon.router == router
    ledger.check(daemon.folder, daemon.store, ids, faults=1, expect="completed")


def test_the_plug_is_pulled(make: Make) -> None:
    """O1, D7, P1: every process killed at one moment, with jobs running and waiting; a new daemon on the same folder
    does all of them, without being told anything."""
    daemon = make("ledgered", consumers_max=2)
    ids = [job.id for job in daemon.client.submit_many("led.work", [{"gate": "plug"}] * 6)]
    daemon.wait_here("plug", 2)
    daemon.kill()
    assert daemon.settings.socket_path.exists(), "a stale socket is left"
    daemon.open_gate("plug")
    daemon.start()
    for id in ids:
        daemon.client.job(id).wait(30)
    ledger.check(daemon.folder, daemon.store, ids, faults=1, expect="completed")
    attempts = sorted(daemon.client.job(id).record().attempt for id in ids)
    assert attempts == [1, 1, 1, 1, 2, 2]


def test_no_job_outlives_its_router(make: Make) -> None:
    """DESIGN part 3: when the router dies, zygote and consumers see the end of their line, and end."""
    daemon = make("ledgered")
    daemon.client.submit("led.work", {"gate": "line"})
    (pid,) = daemon.wait_here("line")
    zygote = daemon.zygote
    os.kill(daemon.router, signal.SIGKILL)
    until(lambda: not alive(zygote) and not alive(pid), what="both are gone")


def test_a_daemon_that_crashes_all_the_time_gives_up(make: Make) -> None:
    """D7 (dramatiq#376): a router that dies again and again ends the daemon, with an exit code that is not 0."""
    daemon = make("ledgered", begin=False)
    daemon.more_environ["STOKER_FAILPOINTS"] = "before-claim:kill"
    job = daemon.client.submit("led.work")
    daemon.start(wait=False)
    assert daemon.exit_code(60) == 1
    assert "giving up" in daemon.log()
    assert ledger.rows(daemon.store)[job.id].state == "new"
