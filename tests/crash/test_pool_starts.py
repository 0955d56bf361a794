"""Workers that take long to start, die at it or never get there, that are replaced by a reload, or stopped."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stoker import Dispatcher
from stoker.router.pools.resident import SILENT_AFTER
from tests.apps import starts
from tests.daemon import Daemon, until
from tests.fixtures import Make

PATIENT = 30.0


@pytest.fixture
def daemon(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    daemon = make("starts", begin=False, kill_grace=0.3, environ={"STOKER_STATS_EVERY": "0.1"})
    daemon.file("way").write_text("well")
    monkeypatch.chdir(tmp_path)  # what runs inline, runs here
    return daemon


@pytest.fixture
def to(daemon: Daemon) -> Iterator[Dispatcher]:
    made = Dispatcher(settings=daemon.settings)
    yield made
    made.close()


def pool(daemon: Daemon, product: str) -> dict[str, Any]:
    return next(one for one in daemon.client.ask("pools") if one["product"] == product)


def pids(daemon: Daemon, product: str) -> set[int]:
    """Workers that take jobs."""
    return {one["pid"] for one in pool(daemon, product)["processes"] if one["state"] == "ready"}


# ── a reload ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_dispatches_go_on_over_reloads(daemon: Daemon, to: Dispatcher) -> None:
    """The workers before take dispatches until one of the new is ready: none runs inline, none waits for a start hook,
    and stored jobs run once each."""
    daemon.start()
    until(lambda: len(pids(daemon, "slow")) == 2)
    stop = threading.Event()
    found: list[tuple[int, list[int]]] = []

    def go_on(first: int) -> None:
        for number in range(first, first + 10_000_000):
            if stop.is_set():
                return
            found.append((number, to.dispatch("slow", "double", {"left": number})))

    jobs = []
    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(go_on, first * 10_000_000) for first in range(2)]
        try:
            for number in range(3):
                before, count = pids(daemon, "slow"), len(found)
                jobs += [daemon.client.submit("slow.marked", {"number": 10 * number + one}) for one in range(10)]
                daemon.client.ask("reload")
                assert len(found) > count, "dispatches went on while the new workers started"
                assert pids(daemon, "slow").isdisjoint(before)
            until(lambda: {pid for _, (_, pid) in found[-20:]} <= pids(daemon, "slow"))
        finally:
            stop.set()
        for one in running:
            one.result(PATIENT)
    assert to.counts == {"worker": len(found)}
    assert all(doubled == 2 * number for number, (doubled, _) in found)
    assert [job.result(PATIENT) for job in jobs] == [1] * 30
    assert sorted(map(int, daemon.file("marks").read_text().split())) == list(range(30))
    assert len({pid for _, (_, pid) in found}) >= 4


def test_a_reload_whose_workers_cannot_start_goes_through(daemon: Daemon, to: Dispatcher) -> None:
    """The code is the new one all the same; what is wrong is told, and dispatches run here."""
    daemon.start()
    until(lambda: len(pids(daemon, "slow")) == 2)
    daemon.file("broken").touch()
    daemon.client.ask("reload")
    until(lambda: "its start hook failed: RuntimeError: the model is gone" in str(pool(daemon, "slow")["why"]))
    until(lambda: not to.has_worker("slow"))
    assert to.call(starts.double, 4) == [8, os.getpid()]
    daemon.file("broken").unlink()
    daemon.client.ask("reload")
    until(lambda: to.has_worker("slow"))
    assert to.call(starts.double, 4)[1] in pids(daemon, "slow")


def test_a_pool_that_had_grown_has_a_worker_after_a_reload(daemon: Daemon, to: Dispatcher) -> None:
    """One that keeps none alive, too: whoever dispatches does not find it empty."""
    daemon.start()
    first = daemon.client.call("elastic.where")
    assert to.dispatch("elastic", "where") == first
    daemon.client.ask("reload")
    found = to.dispatch("elastic", "where", detailed=True)
    assert (found.by, found.value != first) == ("worker", True)


def test_a_zygote_that_dies_before_its_workers_are_ready(daemon: Daemon, to: Dispatcher) -> None:
    """The reload fails, and those before stay."""
    daemon.start()
    before = until(lambda: found if len(found := pids(daemon, "slow")) == 2 else None)
    old = daemon.zygote
    with ThreadPoolExecutor(1) as threads:
        reload = threads.submit(daemon.another_client().ask, "reload")
        (new,) = until(lambda: [pid for pid in daemon.pids("zygote") if pid != old and _has_children(daemon, pid)])
        os.kill(new, signal.SIGKILL)
        with pytest.raises(Exception, match="the zygote ended while the first workers"):
            reload.result(PATIENT)
    assert pids(daemon, "slow") == before
    assert to.call(starts.double, 4)[1] in before
    daemon.client.ask("reload")
    assert pids(daemon, "slow").isdisjoint(before)


def _has_children(daemon: Daemon, pid: int) -> bool:
    return any(one.parent == pid for one in daemon.processes())


def test_a_zygote_that_dies_while_the_next_one_comes(daemon: Daemon, to: Dispatcher) -> None:
    """Nobody works any more: the new one takes over at once."""
    daemon.start()
    until(lambda: len(pids(daemon, "slow")) == 2)
    old = daemon.zygote
    with ThreadPoolExecutor(1) as threads:
        reload = threads.submit(daemon.another_client().ask, "reload")
        until(lambda: [pid for pid in daemon.pids("zygote") if pid != old and _has_children(daemon, pid)])
        os.kill(old, signal.SIGKILL)
        reload.result(PATIENT)
    assert daemon.client.call("slow.double", left=4)[0] == 8
    assert until(lambda: to.has_worker("slow"))


# ── the start ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("exit", "exit 3 before it was ready; the last line it wrote: no CUDA device"),
        ("silent", "exit 0 before it was ready"),
        ("signal", "signal 11 (SIGSEGV) before it was ready; the last line it wrote: about to crash"),
    ],
)
def test_a_worker_that_dies_at_its_start_is_explained(daemon: Daemon, way: str, told: str) -> None:
    """How it ended and what it said last: in `stoker pools`, in `why`, in the log."""
    daemon.file("way").write_text(way)
    daemon.start()
    until(lambda: f"the workers of dying die: {told}; the next one is made in" in str(pool(daemon, "dying")["why"]))
    job = daemon.client.submit("dying.lives")
    assert f"the workers of dying die: {told}; " in str(job.record().why)
    assert "a worker died  pool=dying" in daemon.log()
    assert told in daemon.log()
    daemon.file("way").write_text("well")
    assert job.result(PATIENT) == "lives"
    assert pool(daemon, "dying")["why"] is None


def test_a_start_hook_that_hangs_is_killed(daemon: Daemon) -> None:
    """After start_timeout, and counts as a death of its start."""
    daemon.start()
    told = "not ready within 0.3 s (start_timeout); the last line it wrote: waiting for the licence server"
    until(lambda: f"the workers of hanging die: {told}; the next one is made in" in str(pool(daemon, "hanging")["why"]))
    daemon.file("mended").touch()
    assert daemon.client.call("hanging.works") == "works"


def test_a_fork_that_is_refused_is_not_asked_for_again_at_once(daemon: Daemon) -> None:
    """Nobody is busy with it: it is tried again at the next look, and the worker is there when it can be."""
    daemon.start()
    (pid,) = until(lambda: pids(daemon, "stopped"))
    daemon.client.call("careless.starts_a_thread")
    os.kill(pid, signal.SIGKILL)
    until(lambda: "no process could be made" in daemon.log())
    before = _switches(daemon.zygote)
    job = daemon.client.submit("stopped.held", {"gate": "refused"})
    daemon.open_gate("refused")
    assert "the zygote has more than one thread" in str(job.record().why)
    until(lambda: daemon.log().count("cannot fork") >= 2, what="it is tried again")
    assert _switches(daemon.zygote) - before < 1000
    daemon.file("over").touch()
    another = job.result(PATIENT)
    assert another != pid
    daemon.file("over").unlink()
    daemon.client.call("careless.starts_a_thread")
    os.kill(another, signal.SIGKILL)
    until(lambda: daemon.client.submit("stopped.held", {"gate": "refused"}).record().why)
    daemon.client.ask("reload")
    assert daemon.client.call("stopped.held", gate="refused") not in (pid, another)


def _switches(pid: int) -> int:
    """How often a process was woken."""
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("voluntary_ctxt_switches"))


# ── stopped in a job ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_stopped_in_a_job_is_told(daemon: Daemon) -> None:
    """It is not killed, since the job has no limit of time; who asks why hears of it."""
    daemon.start()
    job = daemon.client.submit("stopped.held", {"gate": "job"})
    (pid,) = daemon.wait_here("job")
    behind = daemon.client.submit("stopped.held", {"gate": "job"})
    os.kill(pid, signal.SIGSTOP)
    told = f"the worker {pid} has not answered for "
    until(lambda: told in str(job.record().why), PATIENT, what=f"silence of {SILENT_AFTER} s")
    lets_go = f": it is stopped (SIGSTOP); `kill -CONT {pid}` lets it go on"
    assert lets_go in str(job.record().why)
    assert told in str(behind.record().why)
    assert told in str(pool(daemon, "stopped")["why"])
    health = daemon.client.ask("health")
    assert (health["ok"], told in health["message"]) == (True, True)
    daemon.open_gate("job")
    os.kill(pid, signal.SIGCONT)
    assert (job.result(PATIENT), behind.result(PATIENT)) == (pid, pid)
    until(lambda: pool(daemon, "stopped")["why"] is None)


def test_a_loop_that_is_held_up_is_told(daemon: Daemon) -> None:
    """A coroutine that blocks keeps all others in its worker from going on."""
    daemon.start()
    job = daemon.client.submit("loops.blocked", {"gate": "loop"})
    (pid,) = daemon.wait_here("loop")
    told = f"the worker {pid} has not answered for "
    until(lambda: told in str(pool(daemon, "loops")["why"]), PATIENT)
    assert "something in it does not let the rest of it run" in str(job.record().why)
    daemon.open_gate("loop")
    assert job.result(PATIENT) == pid
    until(lambda: pool(daemon, "loops")["why"] is None)
