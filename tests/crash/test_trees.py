"""D26: whatever a job starts is gone when the job is, however it hides and however the job ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from stoker import JobHandle
from tests.crash.conftest import Make
from tests.daemon import LOADED, Daemon, alive, below, until

KINDS = 5
KILL_GRACE = 0.3


def tree(daemon: Daemon) -> list[int]:
    """The processes that the job started, when all of them are there."""
    path = daemon.file("tree.txt")
    until(lambda: path.exists() and len(path.read_text().splitlines()) == KINDS, what="the tree has grown")
    pids = [int(line.split()[1]) for line in path.read_text().splitlines()]
    assert all(alive(pid) for pid in pids)
    return pids


def cancelled(daemon: Daemon, job: JobHandle[object]) -> None:
    job.cancel()


def ends_well(daemon: Daemon, job: JobHandle[object]) -> None:
    daemon.open_gate("tree")


def consumer_is_killed(daemon: Daemon, job: JobHandle[object]) -> None:
    (pid,) = daemon.here("tree")
    os.kill(pid, signal.SIGKILL)


def zygote_is_killed(daemon: Daemon, job: JobHandle[object]) -> None:
    daemon.open_gate("tree")  # it runs again afterwards
    os.kill(daemon.zygote, signal.SIGKILL)


def router_is_killed(daemon: Daemon, job: JobHandle[object]) -> None:
    daemon.open_gate("tree")
    os.kill(daemon.router, signal.SIGKILL)


ENDS: list[tuple[Callable[[Daemon, JobHandle[object]], None], str]] = [
    (cancelled, "cancelled"),
    (ends_well, "completed"),
    (consumer_is_killed, "failed"),
    (zygote_is_killed, "completed"),
    (router_is_killed, "completed"),
]


@pytest.mark.parametrize(("happens", "status"), ENDS)
def test_nothing_is_left(make: Make, happens: Callable[[Daemon, JobHandle[object]], None], status: str) -> None:
    """D26: children, sessions of their own, twice-forked daemons, a shell: none outlives the job, no zombie stays,
    and nothing else is hit."""
    daemon = make("trees", "story", kill_grace=KILL_GRACE)
    neighbour = daemon.client.submit("story.wait", {"gate": "neighbour"})
    daemon.wait_here("neighbour")
    job = daemon.client.submit("trees.grows", {"gate": "tree"})
    daemon.wait_here("tree")
    members = tree(daemon)
    begun = time.monotonic()
    happens(daemon, job)
    until(lambda: not any(alive(pid) for pid in members), what=f"all of {members} are gone")
    took = time.monotonic() - begun
    assert job.wait(20).status == status
    if happens in (cancelled, ends_well, consumer_is_killed):
        assert neighbour.status() == "running"
        assert took < KILL_GRACE + LOADED
    daemon.open_gate("neighbour")
    assert neighbour.wait(20).status == "completed"
    print(f"D26: {happens.__name__}: gone after {took:.3f} s")


def test_a_time_limit_takes_the_tree_along(make: Make) -> None:
    """D26: through the whole ladder, for a job that ignores exception and SIGTERM and has children that do."""
    daemon = make("trees", kill_grace=KILL_GRACE)
    job = daemon.client.submit("trees.outlives", {"gate": "never"})
    members = tree(daemon)
    assert "killed: time limit" in str(job.wait(20).error)
    until(lambda: not any(alive(pid) for pid in members), 2 * KILL_GRACE + 1.0)


def test_a_tree_that_grows_while_it_is_killed(make: Make) -> None:
    """D26, D28 bounded: processes that fork all the time are all caught; the daemon goes on."""
    daemon = make("trees", kill_grace=KILL_GRACE)
    job = daemon.client.submit("trees.breeds", {"count": 4})
    daemon.wait_here("breeds")
    (consumer,) = daemon.here("breeds")
    until(lambda: len(below(consumer)) >= 8)
    job.cancel()
    assert job.wait(20).status == "cancelled"
    until(lambda: not [one for one in daemon.processes() if "trees.breeds" in one.title], 5.0, "none is left")
    daemon.open_gate("calm")
    assert daemon.client.ask("ping") == "pong"
