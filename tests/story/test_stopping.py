"""How a daemon leaves: it lets what runs come to its end, unless somebody is in a hurry."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import threading
import time
from typing import Any

import pytest

from stoker import JobFailed
from tests.daemon import LOADED, Daemon, alive, below, until
from tests.story.conftest import Make

STOPS = (signal.SIGTERM, signal.SIGINT)


def row(daemon: Daemon, id: str) -> tuple[Any, ...]:
    """State, attempt and fence of a job, read from the file itself."""
    db = sqlite3.connect(f"file:{daemon.store}?mode=ro", uri=True)
    try:
        found: tuple[Any, ...] = db.execute("SELECT state, attempt, fence FROM jobs WHERE id = ?", (id,)).fetchone()
        return found
    finally:
        db.close()


def refused(daemon: Daemon) -> bool:
    """Whether nobody answers a new connection."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(daemon.settings.socket_path))
        except (FileNotFoundError, ConnectionRefusedError):
            return True
        return False


@pytest.mark.parametrize("number", STOPS)
def test_a_graceful_stop(make: Make, number: int) -> None:
    """V91-V94, D15: after the signal nobody new connects and nothing is claimed; the running job's result is still
    delivered to the caller who waits; the exit code is 0, the waiting job stays new, and no process is left."""
    daemon = make("story", consumers_max=1)
    job = daemon.client.submit("story.wait", {"gate": "stop"})
    daemon.wait_here("stop")
    queued = daemon.client.submit("story.double", number=1)
    results: list[int] = []
    waiter = threading.Thread(target=lambda: results.append(daemon.another_client().job(job.id).result()))
    waiter.start()
    until(lambda: daemon.client.stats()["clients"]["script"] == 2)
    with daemon.client.line() as kept:
        daemon.send(number)
        until(lambda: refused(daemon), what="no new connections while it finishes its jobs")
        assert kept.ask("job", {"job": queued.id}, dict[str, Any])["why"].startswith("the daemon is stopping")
        processes = [daemon.pid, *(one.pid for one in daemon.processes())]
        daemon.open_gate("stop")
        waiter.join(20)
    assert results == daemon.here("stop")
    assert daemon.exit_code() == 0
    assert not daemon.settings.socket_path.exists()
    until(lambda: not any(alive(pid) for pid in processes), what="nothing of it is left")
    assert row(daemon, job.id)[0] == "completed"
    assert row(daemon, queued.id) == ("new", 0, 0)
    daemon.start()
    assert queued.result(20) == 2


def test_an_idle_daemon_stops_at_once(make: Make) -> None:
    """V91: nothing runs, nothing to wait for."""
    daemon = make("story")
    begun = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - begun < 2.0 + LOADED


@pytest.mark.parametrize("grace", ["0", "0.3"])
def test_a_hurry_gives_jobs_back(make: Make, grace: str) -> None:
    """V94, X16, D15, P12: a second signal, or the end of the grace time, ends what runs; the attempt is not burned,
    and the next daemon runs the job."""
    daemon = make("story", grace=grace)
    jobs = [daemon.client.submit("story.wait", {"gate": "hurry"}) for _ in range(3)]
    pids = daemon.wait_here("hurry", 3)
    daemon.send(signal.SIGTERM)
    if grace == "0":
        until(lambda: "stopping" in daemon.log())  # two signals at one time would be one
        assert all(alive(pid) for pid in pids)
        daemon.send(signal.SIGTERM)
    begun = time.monotonic()
    assert daemon.exit_code() == 0
    assert time.monotonic() - begun < float(grace) + 2.0
    assert not any(alive(pid) for pid in pids)
    assert [row(daemon, job.id)[:2] for job in jobs] == [("new", 0)] * 3
    daemon.open_gate("hurry")
    daemon.start()
    for job in jobs:
        record = job.wait(20)
        assert (record.status, record.attempt) == ("completed", 1)


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2])
def test_signals_to_the_last_moment(make: Make, again: int) -> None:
    """V91: whatever comes while it leaves, up to its last breath, its end is one in order: the exit code is 0."""
    daemon = make("story", spares=0)
    daemon.send(signal.SIGTERM)

    def gone() -> bool:
        with contextlib.suppress(ProcessLookupError):
            daemon.send(again)
        return not alive(daemon.pid)

    until(gone)
    assert daemon.exit_code() == 0
    assert "starting it again" not in daemon.log()


@pytest.mark.parametrize("numbers", [(signal.SIGUSR2, signal.SIGTERM), (signal.SIGTERM, signal.SIGUSR2)])
def test_a_stop_and_a_restart(make: Make, numbers: tuple[int, int]) -> None:
    """V61, V91: whichever comes first, it stops, and as if the other had not come: the running job comes to its end,
    and the exit code is 0."""
    daemon = make("story")
    job = daemon.client.submit("story.wait", {"gate": "both"})
    daemon.wait_here("both")
    first, second = numbers
    daemon.send(first)
    until(lambda: "stopping" in daemon.log())
    daemon.send(second)
    until(lambda: refused(daemon))
    daemon.open_gate("both")
    assert daemon.exit_code() == 0
    assert row(daemon, job.id)[:2] == ("completed", 1)


def test_stop_by_a_client(make: Make) -> None:
    """V91: asking over the socket is the same as the signal."""
    daemon = make("story")
    job = daemon.client.submit("story.wait", {"gate": "asked"})
    daemon.wait_here("asked")
    assert daemon.client.ask("stop") == "stopping"
    daemon.open_gate("asked")
    assert daemon.exit_code() == 0
    assert row(daemon, job.id)[0] == "completed"


def test_a_job_that_ignores_the_stop_is_not_waited_for_twice(make: Make) -> None:
    """D15, D26: given back means killed: also a job that shields itself from SIGTERM."""
    daemon = make("story", grace=0.2)
    job = daemon.client.submit("story.deaf", {"gate": "deaf"})
    (pid,) = daemon.wait_here("deaf")
    assert daemon.stop() == 0
    assert not alive(pid)
    assert row(daemon, job.id)[:2] == ("new", 0)


def test_a_stop_before_it_is_ready(make: Make) -> None:
    """V91: a signal in the middle of the start ends it too, at any moment."""
    for delay in (0.0, 0.05, 0.15, 0.3, 0.45):
        daemon = make("story", begin=False).start(wait=False)
        end = time.monotonic() + delay
        until(lambda end=end: time.monotonic() > end)  # type: ignore[misc]
        begun = time.monotonic()
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code(10) in (0, -signal.SIGTERM)
        assert time.monotonic() - begun < 5.0
        until(lambda daemon=daemon: not below(daemon.keeper))  # type: ignore[misc]


def test_a_stop_while_the_application_is_imported(make: Make) -> None:
    """V91: an import that takes for ever holds nothing up, and nothing of it is left."""
    daemon = make("slow", begin=False)
    daemon.file("slow.py").write_text("from tests.apps.kit import hold\nhold('import')\n")
    daemon.start(wait=False)
    daemon.wait_here("import")
    assert daemon.stop(seconds=5) == 0
    assert not below(daemon.keeper)


def test_a_stop_between_a_crash_and_the_next_start(make: Make) -> None:
    """V91: the router was killed and is about to be started again; the signal is not lost."""
    daemon = make("story")
    os.kill(daemon.router, signal.SIGKILL)
    until(lambda: "starting it again" in daemon.log())
    assert daemon.stop(seconds=5) == 0
    assert not below(daemon.keeper)


def test_a_daemon_whose_supervisor_is_killed_leaves_in_order(make: Make) -> None:
    """D7: without `up` nobody would start the router again, so it drains and goes."""
    daemon = make("story")
    job = daemon.client.submit("story.wait", {"gate": "orphan"})
    daemon.wait_here("orphan")
    daemon.send(signal.SIGKILL)
    until(lambda: "stopping" in daemon.log())
    daemon.open_gate("orphan")
    until(lambda: not below(daemon.keeper))
    assert row(daemon, job.id)[0] == "completed"


def test_a_job_that_fails_while_the_daemon_leaves(make: Make) -> None:
    """V94: the end of a job is written whatever it is; a retry is for the next daemon."""
    daemon = make("story")
    job = daemon.client.submit("story.wait_and_fail", {"gate": "last"})
    daemon.wait_here("last")
    daemon.send(signal.SIGTERM)
    until(lambda: refused(daemon))
    daemon.open_gate("last")
    assert daemon.exit_code() == 0
    assert row(daemon, job.id)[:2] == ("new", 1)
    daemon.start()
    with pytest.raises(JobFailed, match="too late"):
        job.result(20)
    assert job.record().attempt == 2


def test_the_terminal_can_go(make: Make) -> None:
    """V2: `up` started from a terminal that is closed (SIGHUP to it) reloads and goes on; it does not die."""
    daemon = make("story")
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: "reloaded" in daemon.log())
    assert daemon.client.call("story.double", number=1) == 2
