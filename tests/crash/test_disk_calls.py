"""D1: the router is killed at the Nth write or flush of its disk, whichever that is; and D5 at every such moment.

strace attaches to the running router and delivers SIGKILL at that call. STOKER_TEST_SCALE=20 tries every N up to 100.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import ledger
from tests.crash.conftest import Make
from tests.daemon import Daemon, alive, scaled, until

STRACE_MAX = 15.0
"""Seconds after which strace is taken away, whatever it does: a strike takes less than one."""
KILLS_PER_START = 3
"""Kills before the daemon is started by hand: its supervisor gives up after a few crashes a minute."""


@contextmanager
def killed_at(daemon: Daemon, call: str, number: int) -> Iterator[int]:
    """The router's ``number``-th ``call`` from now on is its last. Gives the router's pid."""
    router = daemon.router
    notes = daemon.file("strace.txt")
    notes.unlink(missing_ok=True)
    strike = f"inject={call}:signal=SIGKILL:when={number}"
    argv = ["strace", "-f", "-p", str(router), "-e", f"trace={call}", "-e", strike]
    with open(notes, "wb") as out, subprocess.Popen(argv, stderr=out, stdout=subprocess.DEVNULL) as strace:
        # strace may hang over a thread that dies under it, and hold the dying router with it
        release = threading.Timer(STRACE_MAX, strace.kill)
        release.start()
        try:
            until(lambda: " attached" in notes.read_text(), what="strace is attached")
            yield router
        finally:
            release.cancel()
            strace.kill()


def points() -> list[tuple[str, int]]:
    """Which calls, spread over the first hundred by chance; the seed is in the test's name when it fails."""
    chance = random.Random(20261121)
    writes = [1, 2, 3, *(chance.randint(4, 100) for _ in range(scaled(3)))]
    flushes = [1, 2, *(chance.randint(3, 40) for _ in range(scaled(1)))]
    return [*(("pwrite64", number) for number in writes), *(("fdatasync", number) for number in flushes)]


@pytest.mark.timeout(300)
def test_crash_at_every_disk_call(make: Make) -> None:
    """D1, P1, P2: nothing acknowledged is lost, nothing is there twice, no job stays between two states, the file is
    sound; and the next router works within two seconds of its start."""
    assert shutil.which("strace"), "install strace: this test kills the router inside a system call"
    daemon = make("ledgered", consumers_max=2)
    ids: list[str] = []
    recoveries = []
    for index, (call, number) in enumerate(points()):
        if index and index % KILLS_PER_START == 0:
            assert daemon.stop() == 0
            daemon.start()
        with killed_at(daemon, call, number) as router:
            submitted = 0
            begun = time.monotonic()
            while alive(router):
                begun = time.monotonic()
                ids.append(daemon.client.submit("led.mortal", id=f"{index}-{submitted}").id)
                submitted += 1
                assert submitted < 1000, f"{call} {number} was never reached"
        # from before the submission that saw the kill, so that it contains the whole of the restart
        daemon.client.submit("led.mortal", id=f"{index}-after").wait(30)
        recoveries.append(time.monotonic() - begun)
        ids.append(f"{index}-after")
    until(lambda: not ledger.unfinished(daemon.store, ids), 60)
    ledger.check(daemon.folder, daemon.store, ids, faults=len(points()), expect="completed")
    assert daemon.stop() == 0
    assert ledger.sound(daemon.store)
    print(f"D1: {len(points())} kills, {len(ids)} acknowledged jobs; recovery at worst {max(recoveries):.2f} s")
