"""Cancelling: from any client, at any moment of a job's life."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from stoker import JobCancelled
from stoker.model.errors import UnknownJob
from tests.daemon import LOADED, Daemon, alive, scaled, until


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("limits", consumers_max=2, kill_grace=0.3) as daemon:
        yield daemon


def test_a_waiting_job_ends_at_once_and_never_runs(daemon: Daemon) -> None:
    """O53: cancelled while new: the state is there with the answer, the reason is kept, no handler was entered."""
    holders = [daemon.client.submit("limits.waits", {"gate": "busy"}) for _ in range(2)]
    daemon.wait_here("busy", 2)
    job = daemon.client.submit("limits.waits", {"gate": "unborn"})
    record = daemon.another_client().job(job.id).cancel("changed my mind")
    assert (record.status, record.error) == ("cancelled", "Cancelled: changed my mind")
    assert record.completed_at is not None
    with pytest.raises(JobCancelled, match="changed my mind"):
        job.result(20)
    daemon.open_gate("busy")
    for holder in holders:
        holder.result(20)
    assert daemon.here("unborn") == []
    assert job.record().attempt == 0


def test_a_running_job_is_interrupted(daemon: Daemon) -> None:
    """O53: stops within two seconds, hears the reason, and the reason is on the record."""
    job = daemon.client.submit("limits.waits", {"gate": "running"})
    (pid,) = daemon.wait_here("running")
    begun = time.monotonic()
    job.cancel("user closed the page")
    with pytest.raises(JobCancelled, match="user closed the page"):
        job.result(20)
    assert time.monotonic() - begun < 2.0 + LOADED
    assert daemon.file("cancelled.txt").read_text().splitlines()[-1] == "user closed the page"
    until(lambda: not alive(pid))


@pytest.mark.parametrize("command", ["too_late", "fails_when_cancelled"])
def test_cancelled_is_cancelled_whatever_the_handler_makes_of_it(daemon: Daemon, command: str) -> None:
    """O53: a result that comes in spite of it, or an error that would be retried, change nothing."""
    job = daemon.client.submit(f"limits.{command}", {"gate": command})
    daemon.wait_here(command)
    job.cancel("enough")
    record = job.wait(20)
    assert (record.status, record.error, record.attempt) == ("cancelled", "Cancelled: enough", 1)
    assert len(daemon.here(command)) == 1


def test_the_ladder(daemon: Daemon) -> None:
    """O53, D26: exception, SIGTERM, SIGKILL, a grace time apart; and the first reason stays."""
    job = daemon.client.submit("limits.stubborn", {"gate": "ladder"}, timeout=60)
    (pid,) = daemon.wait_here("ladder")
    begun = time.monotonic()
    job.cancel("first")
    job.cancel("second")
    record = job.wait(20)
    assert record.error == "Cancelled: first"
    assert 0.55 < time.monotonic() - begun < 0.6 + LOADED
    assert not alive(pid)
    assert daemon.file("stubborn.txt").read_text().split() == ["CancelRequested", "TERM"]


def test_an_ended_job_is_left_as_it_is(daemon: Daemon) -> None:
    """O51, O53: cancelling what has ended answers with how it ended."""
    daemon.open_gate("done")
    job = daemon.client.submit("limits.waits", {"gate": "done"})
    job.result(20)
    assert job.cancel("too late").status == "completed"
    with pytest.raises(UnknownJob):
        daemon.client.job("nosuchjob").cancel()


def test_jobs_that_wait_for_their_time_or_key(daemon: Daemon) -> None:
    """O53: scheduled and held jobs are cancelled too, and whoever waited behind goes on."""
    later = daemon.client.submit("limits.waits", {"gate": "later"}, delay=60)
    assert later.cancel().status == "cancelled"
    first, second, third = (
        daemon.client.submit("limits.one_at_a_time", {"name": "n", "gate": f"key{number}"}) for number in range(3)
    )
    daemon.wait_here("key0")
    assert second.cancel().status == "cancelled"
    first.cancel()
    daemon.wait_here("key2")
    daemon.open_gate("key2")
    assert third.wait(20).status == "completed"
    assert daemon.here("key1") == []


@pytest.mark.parametrize(("command", "mark"), [("async_waits", "async.txt"), ("thread_waits", "thread.txt")])
def test_in_a_resident_only_the_one_job_stops(daemon: Daemon, command: str, mark: str) -> None:
    """O53: a task is cancelled, a thread gets the exception; the process and its other jobs go on."""
    one = daemon.client.submit(f"limits.{command}", {"gate": f"{command}-one"})
    two = daemon.client.submit(f"limits.{command}", {"gate": f"{command}-two"})
    (pid,) = daemon.wait_here(f"{command}-one")
    daemon.wait_here(f"{command}-two")
    one.cancel("just this one")
    assert one.wait(20).status == "cancelled"
    assert daemon.file(mark).read_text().split() == ["finally"]
    assert two.status() == "running"
    assert alive(pid)
    two.cancel()
    assert two.wait(20).error == "Cancelled: cancelled by a client"
    assert alive(pid)


def test_many_at_once(daemon: Daemon) -> None:
    """O53: a hundred jobs, running and waiting, cancelled in any order: all of them end cancelled, and work goes on."""
    jobs = [daemon.client.submit("limits.waits", {"gate": "hundred"}) for _ in range(100)]
    for job in reversed(jobs):
        job.cancel()
    assert {job.wait(30).status for job in jobs} == {"cancelled"}
    daemon.open_gate("after")
    assert daemon.client.call("limits.waits", gate="after") == "not cancelled"


def test_a_job_whose_process_is_being_made_stops_as_soon_as_it_is_there() -> None:
    """The signal that tells of the cancel may come before the process can take one: nothing is lost by that. With
    consumers forked ahead, and without; lost was one of a hundred."""
    for spares in (0, 2):
        with Daemon("limits", consumers_max=4, spares=spares, kill_grace=60) as daemon:
            jobs = []
            for number in range(scaled(60, least=10)):
                jobs.append(daemon.client.submit("limits.unlimited", {"seconds": 60}))
                jobs[-1].cancel(f"number {number}")
            for number, job in enumerate(jobs):
                record = job.wait(30)
                assert (record.status, record.error) == ("cancelled", f"Cancelled: number {number}")
