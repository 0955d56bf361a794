"""Trying again: how often, when, for which errors; and what a handler may say about its own end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from stoker import JobCancelled, JobFailed
from stoker.model.errors import WrongState
from tests.daemon import Daemon, until


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("queueing", consumers_max=4, look=0.2) as daemon:
        yield daemon


def test_back_off_doubles(daemon: Daemon) -> None:
    """O63 in kind: 0.1, 0.2, 0.4 seconds between attempts, each told in the job's events with its error."""
    job = daemon.client.submit("queue.flaky", {"succeed_at": 4})
    first = until(lambda: [record for record in (job.record(),) if record.error])[0]
    assert first.status == "new"
    assert "after attempt 1 ended with: ConnectionError: attempt 1" in str(first.why)
    assert job.result(20) == 4
    times = [float(line) for line in daemon.file("flaky.txt").read_text().split()]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(wanted <= gap < wanted + 0.25 for gap, wanted in zip(gaps, (0.1, 0.2, 0.4), strict=True)), gaps
    told = [event.value() for event in job.events() if event.kind == "attempt"]
    assert [(one["attempt"], one["outcome"], one["error"]) for one in told] == [
        (number, "retry", f"ConnectionError: attempt {number}") for number in (1, 2, 3)
    ]
    assert job.record().error is None


def test_attempts_run_out(daemon: Daemon) -> None:
    """O33, O52: after the last attempt the job is failed, kept, with the last error."""
    with pytest.raises(JobFailed, match="ConnectionError: attempt 2"):
        daemon.client.call("queue.flaky", succeed_at=9, retries=1)


@pytest.mark.parametrize(("kind", "attempts"), [("OSError", 3), ("FileNotFoundError", 1), ("ValueError", 1)])
def test_by_the_type_of_the_error(daemon: Daemon, kind: str, attempts: int) -> None:
    """O33: what is worth another attempt is the command's word: these classes, but never those."""
    with pytest.raises(JobFailed, match=f"{kind}: no"):
        daemon.client.call("queue.picky", kind=kind)
    assert len(daemon.file(f"picky-{kind}.txt").read_text().split()) == attempts


def test_a_handler_asks_for_another_attempt(daemon: Daemon) -> None:
    """Retry(after=): at that moment, not by the back-off; it counts."""
    assert daemon.client.call("queue.asks_again") == 3


def test_a_handler_snoozes(daemon: Daemon) -> None:
    """Snooze: as often as it likes, and it is still the first attempt."""
    assert daemon.client.call("queue.snoozes") == 1
    assert len(daemon.file("snoozes.txt").read_text().split()) == 4


def test_a_handler_gives_up(daemon: Daemon) -> None:
    """Cancel: ended as cancelled at once, with its reason, retries or not."""
    job = daemon.client.submit("queue.gives_up")
    with pytest.raises(JobCancelled, match="the source is gone"):
        job.result(20)
    assert job.record().attempt == 1


def test_a_dead_job_runs_again(daemon: Daemon) -> None:
    """O71, O52: reset by a client; the worker picks it up by itself; only what has ended can be reset."""
    job = daemon.client.submit("queue.fails_until", {"file": "arrived.txt"})
    with pytest.raises(JobFailed, match="FileNotFoundError"):
        job.result(20)
    daemon.file("arrived.txt").write_text("here it is")
    record = job.retry()
    assert (record.status, record.error, record.completed_at) == ("new", None, None) or record.status == "running"
    assert job.result(20) == "here it is"
    assert job.record().attempt == 1
    waiting = daemon.client.submit("queue.mark", {"text": "x"}, delay=60)
    with pytest.raises(WrongState, match="only an ended job"):
        waiting.retry()


def test_failure_figures(daemon: Daemon) -> None:
    """O78, O79, X13: per command totals, mean time and failure rate in percent; equal to a hand count."""
    for number in range(12):
        kind = "fails_until"
        job = daemon.client.submit(f"queue.{kind}", {"file": "arrived.txt" if number % 4 else "missing.txt"})
        job.wait(20)
    rows = {row["command"]: row for row in daemon.client.ask("command_stats")}
    found = rows["queue.fails_until"]
    hand = daemon.client.jobs(command="queue.fails_until", limit=100)
    failed = len([job for job in hand if job.status == "failed"])
    assert (found["total"], found["failed"]) == (len(hand), failed)
    assert found["failure_rate"] == round(100 * failed / len(hand))
    assert 0 < found["seconds"] < 10
