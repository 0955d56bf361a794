"""Residents: one process, several jobs at a time, for work that mostly waits (003: ``--max-tasks 5``)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from stoker import JobFailed
from tests.daemon import LOADED, Daemon, alive, until
from tests.story.conftest import Make

TASKS = 5


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("residents", max_tasks=TASKS, kill_grace=0.3) as daemon:
        yield daemon


def test_never_more_than_so_many_at_a_time(daemon: Daemon) -> None:
    """O22, O67, O72: twelve sleepers, five slots: five run, seven wait, all finish; in one process."""
    jobs = [daemon.client.submit("res.sleeper", {"gate": "twelve"}) for _ in range(12)]
    daemon.wait_here("twelve", TASKS)
    stats = daemon.client.stats()
    assert (stats["consumers"], stats["consumers_max"], stats["queued"]) == (TASKS, TASKS, 7)
    assert "all 5 async slots are busy" in str(jobs[-1].record().why)
    daemon.open_gate("twelve")
    pids = {job.result(20) for job in jobs}
    assert pids == set(daemon.pids("resident"))
    assert len(pids) == 1
    now = most = 0
    for sign in daemon.file("running.txt").read_text().split():
        now += 1 if sign == "+" else -1
        most = max(most, now)
    assert (now, most) == (0, TASKS)


@pytest.mark.parametrize("command", ["quick", "plain"])
def test_a_hundred_jobs_one_process(daemon: Daemon, command: str) -> None:
    """O34: after a job the worker waits for the next; coroutines on its loop, plain functions in its threads."""
    jobs = daemon.client.submit_many(f"res.{command}", [{"number": number} for number in range(100)])
    found = [job.result(30) for job in jobs]
    assert [one[0] for one in found] == list(range(100))
    assert len({one[1] for one in found}) == 1
    if command == "plain":
        assert 1 <= len({one[2] for one in found}) <= TASKS


def test_two_handlers_overlap(daemon: Daemon) -> None:
    """O17: awaiting handlers run at the same time in one worker."""
    one = daemon.client.submit("res.meets", {"me": "left", "other": "right"})
    two = daemon.client.submit("res.meets", {"me": "right", "other": "left"})
    assert (one.result(20), two.result(20)) == ("left", "right")


def test_plain_functions_overlap_too(daemon: Daemon) -> None:
    """O17: in threads."""
    jobs = [daemon.client.submit("res.plain_wait", {"gate": "threads"}) for _ in range(TASKS)]
    daemon.wait_here("threads", TASKS)
    daemon.open_gate("threads")
    assert len({job.result(20) for job in jobs}) == TASKS


def test_warm_state_stays(daemon: Daemon) -> None:
    """O34: what one job leaves in memory the next one finds."""
    first = daemon.client.call("res.counts")
    assert daemon.client.call("res.counts") == first + 1


def test_an_error_is_one_jobs_error(daemon: Daemon) -> None:
    """O33: the process and its pid stay."""
    _, pid = daemon.client.call("res.quick", number=1)
    with pytest.raises(JobFailed, match="LookupError: in a coroutine"):
        daemon.client.call("res.fails")
    assert daemon.client.call("res.quick", number=2) == [2, pid]


def test_a_command_may_ask_for_a_process(daemon: Daemon) -> None:
    """X2: isolation is the command's word, whatever the default is."""
    assert daemon.client.call("res.apart") not in daemon.pids("resident")


def test_a_resident_that_dies_is_replaced(daemon: Daemon) -> None:
    """O57, O58, V22: its jobs run again, each by itself this time; so the one to blame dies alone, and the others are
    disturbed once at most. The next job finds a new process."""
    others = [daemon.client.submit("res.sleeper", {"gate": "survivor"}) for _ in range(3)]
    before = daemon.wait_here("survivor", 3)[0]
    dying = daemon.client.submit("res.dies")
    with pytest.raises(JobFailed, match="exit 3 without a result"):
        dying.result(30)
    daemon.wait_here("survivor", 6)
    assert not alive(before)
    daemon.open_gate("survivor")
    assert len({before, *(other.result(20) for other in others)}) == 4
    assert {other.record().attempt for other in others} == {2}
    assert dying.record().attempt == 2
    until(lambda: "stoker-resident async 1" not in [one.title for one in daemon.processes()], what="no lone residents")
    assert daemon.client.call("res.quick", number=1)[0] == 1


def test_a_blocked_loop_costs_the_resident(daemon: Daemon) -> None:
    """O61: a coroutine that never yields is ended by its limit; the neighbours run again elsewhere."""
    other = daemon.client.submit("res.sleeper", {"gate": "neighbour"})
    (before,) = daemon.wait_here("neighbour")
    begun = time.monotonic()
    with pytest.raises(JobFailed, match="time limit"):
        daemon.client.call("res.blocks", timeout=0.3)
    assert time.monotonic() - begun < 3.0 + LOADED
    until(lambda: not alive(before))
    daemon.wait_here("neighbour", 2)
    daemon.open_gate("neighbour")
    assert other.wait(20).status == "completed"


def test_an_interrupt_that_comes_before_its_thread_has_begun(make: Make) -> None:
    """The worker reads the job and its interrupt in one go: it is told as it begins, and the worker lives on."""
    daemon = make("grips", kill_grace=20)
    fifo = daemon.file("fifo")
    os.mkfifo(fifo)
    gripping = daemon.client.submit("threads.grips", {"fifo": str(fifo)})
    with open(os.open(fifo, os.O_RDWR), "wb", buffering=0) as end:
        (pid,) = daemon.wait_here("grips")
        job = daemon.client.submit("threads.holds", {"gate": "late"})
        until(lambda: job.status() == "running", what="the job is the worker's")
        job.cancel("too late")
        daemon.client.stats()  # the router has said what it had to say
        end.write(b"x")
        assert gripping.result(20) == pid
        assert job.wait(10).error == "Cancelled: too late"
    assert daemon.client.call("threads.who") == pid


def test_reload_and_stop_wait_for_residents(make: Make) -> None:
    """V91, V95: jobs in a resident end in it under the old code; a stop lets them end."""
    daemon = make("residents", max_tasks=2)
    job = daemon.client.submit("res.sleeper", {"gate": "old"})
    (old,) = daemon.wait_here("old")
    daemon.client.ask("reload")
    new = daemon.client.call("res.quick", number=1)[1]
    assert new != old
    assert alive(old)
    daemon.send(15)
    until(lambda: "stopping" in daemon.log())
    daemon.open_gate("old")
    assert daemon.exit_code() == 0
    daemon.start()
    assert job.record().status == "completed"
    assert job.record().attempt == 1
