"""What the crash tests of several nodes share: nodes with short leases, jobs held on one, and what is left to see."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stoker import JobHandle
from stoker.model.errors import StoreError
from tests.daemon import Daemon, process, until
from tests.fleet import Fleet, started, thaw

LEASE = 2.0
LOOK = 0.2
APPS = ("ledgered", "faraway")


def node(fleet: Fleet, name: str, **options: object) -> Daemon:
    """A node with a short lease, not started yet; the server knows its sessions by its name."""
    given = {"lease": LEASE, "look": LOOK, "consumers_max": 3, **options}
    given.setdefault("store", fleet.url(application_name=name))
    return fleet.node(name, *APPS, begin=False, **given)


def held_on(daemon: Daemon, command: str, count: int, gate: str) -> list[JobHandle[object]]:
    """Jobs that run on this node, and wait there for the gate."""
    jobs: list[JobHandle[object]] = [daemon.client.submit(command, gate=gate) for _ in range(count)]
    until(lambda: len(daemon.client.stats()["slots"]) == count, what=f"{count} jobs run")
    if command != "any.breathe":
        daemon.wait_here(gate, count)
    return jobs


def begins(fleet: Fleet, ids: list[str]) -> int:
    return sum(1 for entry in fleet.entries() if entry.what == "begin" and entry.job in ids)


def stopped(pid: int) -> bool:
    return (found := process(pid)) is not None and found.state == "T"


def breaths(daemon: Daemon, id: str) -> list[float]:
    """When this node's attempt of the job was alive."""
    path = daemon.file(f"{id}.breaths")
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def found_lost(daemon: Daemon) -> int:
    return daemon.log().count("a lost job was found")


def refused(daemon: Daemon) -> int:
    return daemon.log().count("a late ending was refused")


def abandon(fleet: Fleet, daemons: list[Daemon], id: str) -> tuple[int, int]:
    """Make a job that is not due one whose owner is gone; all these nodes see it so, and stop before they write. Its
    seq and fence."""
    # they stand still while it is lost: whoever had looked before, and had not heard the answer, saw it whole
    _stop_at_reap(daemons)
    ((seq, fence),) = fleet.sql(
        "UPDATE stoker.jobs SET state = 'running', waits = 'slot', owner = 'gone', attempt = attempt + 1, "
        "fence = fence + 1, started = created, lease_until = created WHERE id = %s RETURNING seq, fence",
        id,
    )
    _stop_at_reap(daemons)
    return int(seq), int(fence)


def _stop_at_reap(daemons: list[Daemon]) -> None:
    """Let these nodes look for what is lost, once more if they stand still, and stop before they write."""
    standing = [daemon.router for daemon in daemons if stopped(daemon.router)]
    for daemon in daemons:
        daemon.arm("before-reap")
    thaw(standing)
    for daemon in daemons:
        until(lambda daemon=daemon: daemon.struck("before-reap") and stopped(daemon.router), what="a reaper that stops")  # type: ignore[misc]


def reapers(fleet: Fleet, *names: str) -> list[Daemon]:
    """Nodes that claim nothing, and can be stopped between a reaper's look and its write."""
    made = started(*(node(fleet, name, look=0.1, failpoints=["before-reap:stop"]) for name in names))
    for name in names:
        made[0].client.ask("cordon", node=name)
    until(lambda: all(daemon.client.stats()["cordoned"] for daemon in made))
    return made


class Load:
    """A client that submits all the time, with ids of its own: what gets no answer is sent again with the same id."""

    def __init__(self, daemon: Daemon, pause: float = 0.02) -> None:
        self.ids: list[str] = []
        self.refusals = 0
        self._client = daemon.another_client()
        self._pause = pause
        self._name = daemon.settings.node
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for number in itertools.count():
                id = f"{self._name}-{number}"
                while not self._submitted(id):
                    self.refusals += 1
                    if self._stop.wait(0.05):
                        return
                self.ids.append(id)
                if self._stop.wait(self._pause):
                    return
        except BaseException as error:
            self._failed.append(error)

    def _submitted(self, id: str) -> bool:
        try:
            return self._client.submit("led.work", id=id).id == id
        except StoreError:
            return False

    def end(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def stop(self) -> list[str]:
        """No more; the ids that were acknowledged."""
        self.end()
        assert self._failed == [], "a submission failed with something else than a StoreError"
        return self.ids


@contextmanager
def loaded(nodes: Sequence[Daemon]) -> Iterator[list[Load]]:
    """A load on each of these nodes, and none of it left."""
    loads = [Load(node) for node in nodes]
    try:
        yield loads
    finally:
        for load in loads:
            load.end()


def work_goes_on(fleet: Fleet, seconds: float) -> float:
    """Wait for ten more jobs to end; how long that took."""
    begun, before = time.monotonic(), fleet.written()
    until(lambda: fleet.written() >= before + 20, seconds, "work goes on")
    return time.monotonic() - begun
