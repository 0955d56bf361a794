"""Workers that stay, gone wrong: killed, stopped, deadlocked, deaf, broken at their start; and nothing left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker import JobFailed
from stoker.model.errors import AppError
from tests.daemon import LOADED, Daemon, alive, scaled, until
from tests.fixtures import Make

GRACE = 0.3
KILLED = "Killed: signal 9 (SIGKILL); perhaps the machine ran out of memory"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("pools", kill_grace=GRACE) as daemon:
        yield daemon


def pool(daemon: Daemon, product: str) -> dict[str, Any]:
    return next(one for one in daemon.client.ask("pools") if one["product"] == product)


def pids(daemon: Daemon, product: str) -> set[int]:
    """Workers that take jobs."""
    return {one["pid"] for one in pool(daemon, product)["processes"] if one["state"] == "ready"}


def fail(daemon: Daemon, command: str, **input: Any) -> str:
    with pytest.raises(JobFailed) as caught:
        daemon.client.call(command, **input)
    return str(caught.value)


def test_a_worker_killed_in_a_job_is_replaced_within_a_second(daemon: Daemon) -> None:
    """P9, H66: out of the list and replaced within a second; its job has its next attempt on another."""
    before = until(lambda: found if len(found := pids(daemon, "images")) == 3 else set())
    job = daemon.client.submit("images.gated_again", {"gate": "killed"})
    (pid,) = daemon.wait_here("killed")
    os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    until(lambda: pid not in pids(daemon, "images") and len(pids(daemon, "images")) == 3)
    took = time.monotonic() - begun
    print(f"replaced after {took * 1000:.0f} ms")
    assert took < 1.0 + LOADED
    daemon.open_gate("killed")
    attempt, other = job.result(20)
    assert (attempt, other != pid) == (2, True)
    assert len(pids(daemon, "images") - before) == 1


def test_a_job_that_kills_its_worker_is_to_blame_alone(daemon: Daemon) -> None:
    """Those behind it in the same worker had not begun: given back, and none of their attempts counted."""
    daemon.client.submit_many("one.add", [{"left": 1} for _ in range(300)])[-1].result(20)
    jobs = daemon.client.submit_many("one.add", [{"left": number} for number in range(200)])
    assert [job.result(20) for job in jobs] == [*range(1, 201)]
    dying = daemon.client.submit("one.killed_once")
    jobs += daemon.client.submit_many("one.add", [{"left": number} for number in range(200)])
    assert dying.result(20) == 2
    assert [job.result(20) for job in jobs] == [*range(1, 201), *range(1, 201)]
    assert {job.record().attempt for job in jobs} == {1}


def test_jobs_that_kill_their_workers_do_not_keep_the_others_waiting(daemon: Daemon) -> None:
    """P11, H64: a pool is not broken for what its jobs do; each of those has its own limit of attempts."""
    dying = [daemon.client.submit("one.killed_once") for _ in range(8)]
    assert daemon.client.submit("one.add", {"left": 1}).result(20) == 2
    assert [job.result(20) for job in dying] == [2] * 8
    assert pool(daemon, "one")["broken"] is None


def test_a_worker_killed_from_outside_while_it_works_fast(daemon: Daemon) -> None:
    """Every job ends well, whatever moment the kill hits; at most the one it was at, and those whose end it had not
    told, have a second attempt."""
    retried = 0
    for _ in range(scaled(5)):
        jobs = daemon.client.submit_many("one.add", [{"left": number} for number in range(600)])
        jobs[100].wait(30)
        for pid in pids(daemon, "one"):
            os.kill(pid, signal.SIGKILL)
        records = [job.wait(30) for job in jobs]
        assert sum(record.status == "completed" for record in records) >= 599
        assert {record.error for record in records} <= {None, KILLED}
        retried += sum(record.attempt > 1 for record in records)
    print(f"second attempts after {scaled(5)} kills: {retried}")


def test_a_stopped_worker_has_its_time_limit_all_the_same(daemon: Daemon) -> None:
    """SIGSTOP: it hears nothing, and is killed for it."""
    job = daemon.client.submit("one.stopped")
    (pid,) = daemon.wait_here("stopped")
    os.kill(pid, signal.SIGSTOP)
    assert "time limit" in str(job.wait(20).error)
    until(lambda: not alive(pid))
    assert daemon.client.call("one.add", left=1) == 2


def test_a_worker_stopped_while_idle_gives_its_job_back(daemon: Daemon) -> None:
    """It was given a job and does not even begin: killed, and the job runs elsewhere as its first attempt."""
    (pid,) = until(lambda: pids(daemon, "one"))
    os.kill(pid, signal.SIGSTOP)
    job = daemon.client.submit("one.where")
    assert job.result(20) != pid
    assert job.record().attempt == 1
    assert not alive(pid)


def test_a_deadlock_is_ended_by_its_limit(daemon: Daemon) -> None:
    """Soft: the exception ends the wait for the lock, and the worker lives on."""
    before = daemon.client.call("one.where")
    assert "time limit 0.3 s exceeded" in fail(daemon, "one.deadlocks")
    assert "time limit 0.3 s exceeded" in fail(daemon, "one.too_long")
    assert daemon.client.call("one.where") == before


def test_a_handler_that_swallows_everything_costs_its_worker(daemon: Daemon) -> None:
    """H75: exception and SIGTERM are ignored, SIGKILL is not."""
    before = daemon.client.call("one.where")
    begun = time.monotonic()
    assert "time limit 0.3 s exceeded" in fail(daemon, "one.swallows")
    assert time.monotonic() - begun < 0.3 + 2 * GRACE + LOADED
    assert daemon.file("swallowed").exists()
    assert not alive(before)
    assert daemon.client.call("one.where") != before


def test_a_worker_that_cannot_start_is_tried_again_later_and_later(daemon: Daemon) -> None:
    """The hook's own words, in `why`, in the pool and in the log."""
    job = daemon.client.submit("crashing.works")
    until(lambda: "the next one is made in" in str(job.record().why), what="the back-off is told")
    assert "its start hook failed: RuntimeError: no model there" in str(job.record().why)
    assert daemon.client.call("one.add", left=1) == 2, "the others work"
    daemon.file("mended").touch()
    assert job.result(30) == "works"
    assert pool(daemon, "crashing")["why"] is None


@pytest.mark.parametrize(
    ("way", "told"), [("exits", "SystemExit: 3"), ("ends", "RuntimeError: the start hook ended without a yield")]
)
def test_a_start_hook_that_comes_to_nothing_is_told(make: Make, way: str, told: str) -> None:
    daemon = make("pools", begin=False)
    daemon.file(way).touch()
    daemon.start()
    until(lambda: f"its start hook failed: {told}; " in str(pool(daemon, "crashing")["why"]))


def test_a_pool_that_keeps_dying_is_broken_until_a_reload(make: Make) -> None:
    daemon = make("pools", begin=False)
    daemon.file("products.json").write_text('{"crashing": {"workers": 5}}')
    daemon.start()
    until(lambda: (found := pool(daemon, "crashing"))["broken"] and not found["processes"])
    job = daemon.client.submit("crashing.works")
    why = str(job.record().why)
    assert why.startswith(
        "the pool crashing is broken: its start hook failed: RuntimeError: no model there; tried again"
    )
    assert why.endswith("or by `stoker reload`")
    assert "the pool is broken" in daemon.log()
    health = daemon.client.ask("health")
    assert not health["ok"]
    assert "the pool crashing is broken: its start hook failed" in health["message"]
    assert [one["broken"] for one in daemon.client.stats()["pools"] if one["product"] == "crashing"] != [None]
    deaths = len(daemon.file("crashing.hook").read_text().split())
    assert daemon.client.call("one.add", left=1) == 2
    assert len(daemon.file("crashing.hook").read_text().split()) == deaths, "no worker is made meanwhile"
    daemon.file("mended").touch()
    daemon.client.ask("reload")
    assert job.result(20) == "works"
    assert job.record().attempt == 1


def test_source_that_breaks_is_the_jobs_error(make: Make) -> None:
    """Crashing at import: the job says so, a reload is refused, and mended source runs in the same worker."""
    daemon = make("pools", begin=False)
    text = daemon.file("pools.py").read_text()
    daemon.start()
    before = daemon.client.call("one.where")
    daemon.file("pools.py").write_text(f"{text}\n1 / 0\n")
    assert "ZeroDivisionError" in fail(daemon, "one.where")
    with pytest.raises(AppError, match="ZeroDivisionError"):
        daemon.client.ask("reload")
    daemon.file("pools.py").write_text(f"{text}\n")
    assert daemon.client.call("one.where") == before


def test_the_zygote_takes_its_workers_with_it(daemon: Daemon) -> None:
    """A new one is up, with workers of every pool, and the jobs go on."""
    until(lambda: len(pids(daemon, "images")) == 3)
    before = daemon.pids("resident")
    os.kill(daemon.zygote, signal.SIGKILL)
    until(lambda: not [pid for pid in before if alive(pid)])
    until(lambda: daemon.client.stats()["zygote"] and len(pids(daemon, "images")) == 3)
    assert daemon.client.call("images.warm")[2] == 1


def test_a_router_that_is_killed_leaves_no_worker(make: Make) -> None:
    daemon = make("pools")
    until(lambda: len(pids(daemon, "images")) == 3)
    before = [*daemon.pids("resident"), *daemon.pids("zygote")]
    os.kill(daemon.router, signal.SIGKILL)
    until(lambda: not [pid for pid in before if alive(pid)])


def test_a_hundred_replacements_leave_nothing(daemon: Daemon) -> None:
    """H23, H67: no zombie, no descriptor in router or zygote, no file, no worker too many."""

    def descriptors(pid: int) -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    def children() -> int:
        return len(daemon.processes())

    def quiet() -> tuple[int, int]:
        return descriptors(daemon.router), descriptors(daemon.zygote)

    daemon.file("mended").touch()  # nothing may be on its way to another try, whichever tests ran before
    daemon.client.ask("reload")
    daemon.client.ask("pool_set", product="old", options={"recycle_age": None})
    until(lambda: not [one for one in daemon.client.ask("pools") if one["why"] and one["enabled"]])
    (pid,) = until(lambda: pids(daemon, "one"))
    before, count = until(quiet), children()
    files = sorted(os.listdir(daemon.folder))
    for _ in range(scaled(100, 10)):
        assert daemon.client.call("one.where") == pid
        os.kill(pid, signal.SIGKILL)
        dead = pid
        (pid,) = until(lambda dead=dead: pids(daemon, "one") - {dead})  # type: ignore[misc]
    until(lambda: quiet() <= before, what=f"descriptors {before}, now {quiet()}")
    until(lambda: children() <= count)
    zombies = [one for one in Path("/proc").iterdir() if one.name.isdecimal() and _is_zombie(one, daemon)]
    assert zombies == []
    assert sorted(os.listdir(daemon.folder)) == files
    assert daemon.client.call("one.add", left=1) == 2


def _is_zombie(folder: Path, daemon: Daemon) -> bool:
    try:
        state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return False
    return state == "Z" and int(parent) in (daemon.pid, daemon.router, daemon.zygote)
