"""Limits on a job: time, memory and output; what is told, and that they hold for code that does not cooperate."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from stoker import JobFailed
from tests.daemon import LOADED, Daemon, alive, until


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("limits", consumers_max=4, kill_grace=0.3, memory="500MB") as daemon:
        yield daemon


def test_the_soft_limit_is_an_exception(daemon: Daemon) -> None:
    """O61, O62: at about the limit the handler hears of it, cleans up, and the record says why."""
    begun = time.monotonic()
    with pytest.raises(JobFailed, match=r"TimeLimit: time limit 0\.3 s exceeded"):
        daemon.client.call("limits.polite", gate="polite")
    assert 0.3 <= time.monotonic() - begun < 0.3 + LOADED
    assert daemon.file("polite.txt").read_text() == "time limit 0.3 s exceeded\n"


def test_in_time_is_in_time(daemon: Daemon) -> None:
    """O61: the limit of one job is no bound of another, and a submission may set its own."""
    daemon.open_gate("in time")
    assert daemon.client.call("limits.polite", gate="in time") == "in time"
    with pytest.raises(JobFailed, match="time limit"):
        daemon.client.call("limits.unlimited", seconds=60, timeout=0.2)
    assert daemon.client.call("limits.unlimited", seconds=0.4) == "done"


def test_a_time_limit_is_retried_like_a_failure(daemon: Daemon) -> None:
    """O61: attempts that ran out of time count, and the next may succeed."""
    assert daemon.client.call("limits.tries_again") == 2


def test_except_exception_does_not_swallow_the_limit(daemon: Daemon) -> None:
    """O61: a handler full of `except Exception` is stopped all the same."""
    with pytest.raises(JobFailed, match="time limit"):
        daemon.client.call("limits.swallows")
    assert not daemon.file("swallowed.txt").exists()


@pytest.mark.parametrize(("command", "rungs"), [("stubborn", 2), ("in_c", 1)])
def test_the_hard_limit_is_a_kill(daemon: Daemon, command: str, rungs: int) -> None:
    """O61, D26: who ignores the exception gets SIGTERM, then SIGKILL, also a loop in C that hears nothing."""
    begun = time.monotonic()
    inputs = {"gate": "never"} if command == "stubborn" else {}
    with pytest.raises(JobFailed, match=r"killed: time limit 0\.3 s exceeded"):
        daemon.client.call(f"limits.{command}", inputs)
    assert 0.3 + 0.3 * rungs - 0.05 <= time.monotonic() - begun < 0.3 + 0.3 * rungs + LOADED
    if command == "stubborn":
        assert daemon.file("stubborn.txt").read_text().split() == ["TimeLimitExceeded", "TERM"]
        assert not any(alive(pid) for pid in daemon.here("never"))


def test_a_result_that_comes_after_the_limit_counts(daemon: Daemon) -> None:
    """O61: the work was done; throwing it away would help nobody."""
    assert daemon.client.call("limits.finishes_anyway") == "made it"


def test_a_coroutine_is_cancelled(daemon: Daemon) -> None:
    """O62: in a coroutine the limit arrives at the await, and `finally` runs."""
    with pytest.raises(JobFailed, match="time limit"):
        daemon.client.call("limits.in_a_loop")
    assert daemon.file("loop.txt").read_text() == "finally\n"


def test_memory_of_the_process(daemon: Daemon) -> None:
    """O65, D27: growing past the limit ends the job with "memory" in the reason; others and the daemon go on."""
    zygote = daemon.zygote
    with pytest.raises(JobFailed, match=r"memory 100\.0 MB exceeded"):
        daemon.client.call("limits.grows")
    assert daemon.client.call("limits.modest") == 50 << 20
    assert daemon.zygote == zygote


def test_memory_of_what_a_job_starts(daemon: Daemon) -> None:
    """D27: the limit is on the job's whole tree: a subprocess that wants too much for itself gets no memory; several
    that have too much together cost the job, and are gone. The neighbour notices nothing."""
    neighbour = daemon.client.submit("limits.waits", {"gate": "neighbour"})
    daemon.wait_here("neighbour")
    alone = daemon.client.submit("limits.hogs_below", {"size": 200 << 20, "count": 1})
    assert alone.result(20) == [1]
    assert any("MemoryError" in line for line in alone.logs())
    with pytest.raises(JobFailed, match=r"killed: memory 100\.0 MB exceeded"):
        daemon.client.call("limits.hogs_below", size=40 << 20, count=4)
    until(lambda: not [one for one in daemon.processes() if "bytearray" in one.title])
    daemon.open_gate("neighbour")
    assert neighbour.result(20) == "not cancelled"


def test_the_memory_setting_is_for_commands_without_one(daemon: Daemon) -> None:
    """O67: a limit for all jobs, and one for a single submission."""
    with pytest.raises(JobFailed, match=r"memory 500\.0 MB exceeded"):
        daemon.client.call("limits.hog", size=700 << 20)
    with pytest.raises(JobFailed, match=r"memory 50\.0 MB exceeded"):
        daemon.client.call("limits.hog", size=80 << 20, memory="50MB")


@pytest.mark.parametrize("command", ["floods", "streams"])
def test_output_past_the_limit_is_cut_with_a_mark(daemon: Daemon, command: str) -> None:
    """D30: the job itself is not disturbed; what is kept is bounded, and says that it is not all."""
    count = 5000
    job = daemon.client.submit(f"limits.{command}", {"lines" if command == "floods" else "count": count})
    assert job.result(20) == count
    events = list(job.events())
    kept = [event for event in events if event.kind in ("stdout", "chunk")]
    said = (event.value() if event.kind == "stdout" else bytes(event.data) for event in kept)
    assert 9 << 10 < sum(map(len, said)) <= 10 << 10, "what it printed, without the quotes of each piece"
    marks = [event.value()["message"] for event in events if event.kind == "log"]
    assert marks == ["output cut: more than 10.0 KB"]
    first = kept[0].value()
    assert first.startswith("line 00000000" if command == "floods" else "piece 00000000")


def test_a_limit_in_a_resident_costs_the_resident(daemon: Daemon) -> None:
    """O61: a thread that cannot be stopped takes its process with it; what else ran there runs again, unblamed."""
    other = daemon.client.submit("limits.thread_waits", {"gate": "bystander"})
    (before,) = daemon.wait_here("bystander")
    with pytest.raises(JobFailed, match="time limit"):
        daemon.client.call("limits.thread_in_c")
    pids = daemon.wait_here("bystander", 2)
    assert not alive(before)
    daemon.open_gate("bystander")
    assert other.result(20) == "released"
    assert pids[1] != before
    assert other.record().attempt == 2
    assert os.getpid() not in pids
