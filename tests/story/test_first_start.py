"""The first start of a project, and one beside a daemon that was there before."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.daemon import UP, alive, below, until
from tests.fixtures import Make
from tests.terminal import typed

NO_MODULE = "there is no module 'nomod'"


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("more", [{}, {"STOKER_SOCKET": "other.sock"}, {"STOKER_STORE": "kept/jobs.db"}])
def test_an_application_that_cannot_be_loaded_leaves_nothing(make: Make, more: dict[str, str]) -> None:
    daemon = make(begin=False)
    done = typed(daemon, "up", "nomod", code=4, **more)
    assert NO_MODULE in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert left(daemon.folder) == []


def test_a_place_that_cannot_be_listened_on_leaves_nothing(make: Make) -> None:
    daemon = make(begin=False)
    words = ("up", "nomod", "--listen", "tcp://192.0.2.1:1")
    assert "cannot listen" in typed(daemon, *words, code=2, STOKER_TOKEN="x" * 40).stderr
    assert left(daemon.folder) == []


def test_a_store_that_was_there_stays_with_its_jobs(make: Make) -> None:
    """Also one that no daemon has ever worked on: `submit` made it."""
    daemon = make("shell", begin=False)
    id = typed(daemon, "submit", "shell.quiet").stdout.strip()
    assert NO_MODULE in typed(daemon, "up", "nomod", code=4).stderr
    daemon.start()
    assert daemon.client.job(id).wait(20).status == "completed"
    daemon.stop()
    assert NO_MODULE in typed(daemon, "up", "nomod", code=4).stderr
    with closing(sqlite3.connect(daemon.store)) as db:
        assert db.execute("SELECT id, state FROM jobs").fetchall() == [(id, "completed")]


def test_who_finishes_its_jobs_after_its_supervisor_was_killed_is_told(make: Make) -> None:
    daemon = make("shell")
    job = daemon.client.submit("shell.wait", gate="last")
    daemon.wait_here("last")
    router, members = daemon.router, [one.pid for one in below(daemon.pid)]
    os.kill(daemon.pid, signal.SIGKILL)

    def second() -> str:
        """What another one says; nothing while the first still listens, which is what is told then."""
        done = subprocess.run(
            [*UP, "shell"], cwd=daemon.folder, env=daemon.environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 6
        return "" if "another daemon listens on" in done.stderr else done.stderr

    try:
        said = until(second, what="refused by the store")
        assert f"the daemon that was started before (pid {router}) is finishing its jobs" in said
        assert len(said.splitlines()) == 1
    finally:
        daemon.open_gate("last")
    until(lambda: not any(map(alive, members)), what="the old daemon has ended")
    daemon.start()
    assert daemon.client.job(job.id).wait(20).attempt == 1
