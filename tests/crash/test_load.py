"""D7: zygote, router and all of it killed again and again under load."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tests import ledger
from tests.crash.conftest import Make
from tests.daemon import LOADED, Daemon, below, scaled, until


class Load:
    """A client that submits all the time and keeps the list of what was acknowledged."""

    def __init__(self, daemon: Daemon) -> None:
        self.ids: list[str] = []
        self._client = daemon.another_client()
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.ids.append(self._client.submit("led.mortal", {"seconds": 0.01}).id)
                self._stop.wait(0.01)
        except BaseException as error:
            self._failed.append(error)

    def stop(self) -> list[str]:
        self._stop.set()
        self._thread.join(30)
        assert self._failed == [], "no submission failed, whatever was killed"
        return self.ids


def ends(daemon: Daemon) -> int:
    return sum(1 for entry in ledger.entries(daemon.folder) if entry.what == "end")


def work_goes_on(daemon: Daemon, seconds: float) -> float:
    """Wait for ten more ends; how long that took."""
    begun, before = time.monotonic(), ends(daemon)
    until(lambda: ends(daemon) >= before + 10, seconds, "work goes on")
    return time.monotonic() - begun


@pytest.mark.parametrize("role", ["zygote", "router"])
def test_killed_again_and_again_under_load(make: Make, role: str) -> None:
    """D7, P1, P3: it is back at work within five seconds each time, and the ledger is right."""
    daemon = make("ledgered", consumers_max=3)
    load = Load(daemon)
    kills = min(scaled(3), 5)
    recoveries = []
    for _ in range(kills):
        work_goes_on(daemon, 20)
        os.kill(daemon.router if role == "router" else daemon.zygote, signal.SIGKILL)
        recoveries.append(work_goes_on(daemon, 20))
    ids = load.stop()
    until(lambda: not ledger.unfinished(daemon.store, ids), 60)
    ledger.check(daemon.folder, daemon.store, ids, faults=kills, expect="completed")
    # a child that was just forked still has its parent's name
    until(lambda: len(daemon.pids("router")) == len(daemon.pids("zygote")) == 1)
    print(f"D7: {role} killed {kills} times under load, {len(ids)} jobs; at work again within {max(recoveries):.2f} s")
    assert max(recoveries) < 5.0 + LOADED


def test_everything_killed_at_once_under_load(make: Make) -> None:
    """D7: as when the machine goes down: started again on the same folder it does what it had promised."""
    servers = {one.pid for one in below(os.getpid())}
    daemon = make("ledgered", consumers_max=3)
    ids: list[str] = []
    rounds = scaled(2)
    for _ in range(rounds):
        jobs = daemon.client.submit_many("led.mortal", [{"seconds": 0.02}] * 30)
        ids += [job.id for job in jobs]
        before = ends(daemon)
        until(lambda before=before: ends(daemon) > before + 3)  # type: ignore[misc]
        daemon.kill()
        assert {one.pid for one in below(os.getpid())} <= servers
        daemon.start()
    until(lambda: not ledger.unfinished(daemon.store, ids), 60)
    ledger.check(daemon.folder, daemon.store, ids, faults=rounds, expect="completed")
    assert daemon.stop() == 0
    assert ledger.sound(daemon.store)
