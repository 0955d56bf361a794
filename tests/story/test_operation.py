"""Running it: figures, logs, limits of the system, and several daemons side by side."""

from __future__ import annotations

import json
import os
import re
import resource
import time
from collections.abc import Iterator

import pytest

from tests.daemon import Daemon, until
from tests.nobody import NOBODY, as_other, wrapper
from tests.story.conftest import Make

TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z +(router|zygote|consumer|resident|web|up) +\w+ +\S.*")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("story", consumers_max=2) as daemon:
        yield daemon


def test_the_figures(daemon: Daemon) -> None:
    """V57-V59, V90, O75: uptime grows with the clock; busy, queued and finished jobs are counted right."""
    first, begun = daemon.client.stats(), time.monotonic()
    jobs = [daemon.client.submit("story.wait", {"gate": "figures"}) for _ in range(5)]
    daemon.wait_here("figures", 2)
    stats = daemon.client.stats()
    assert (stats["consumers"], stats["queued"], stats["running"]) == (2, 3, 2)
    assert stats["submitted"] - first["submitted"] == 5
    assert {slot["pid"] for slot in stats["slots"]} == set(daemon.here("figures"))
    daemon.open_gate("figures")
    for job in jobs:
        job.wait(20)
    later, took = daemon.client.stats(), time.monotonic() - begun
    assert later["completed"] - first["completed"] == 5
    assert later["uptime"] - first["uptime"] == pytest.approx(took, abs=0.2)
    assert (later["pid"], later["zygote"]) == (daemon.router, daemon.zygote)


def test_prometheus_text(daemon: Daemon) -> None:
    """V57-V59: the same figures as a page that Prometheus reads: each metric explained, each line of the format."""
    daemon.client.call("story.double", number=1)
    page = daemon.client.ask("metrics", str)
    lines = page.splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {"stoker_jobs", "stoker_slots", "stoker_attempts_total", "stoker_healthy"} <= names
    for line in lines:
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{[^}]*\})? -?[\d.]+(e-\d+)?", line), line
    assert "stoker_healthy 1" in lines
    (done,) = [line for line in lines if line.startswith('stoker_attempts_total{command="story.double"')]
    assert int(done.split()[-1]) >= 1


def test_log_lines_have_three_parts(daemon: Daemon) -> None:
    """V100, O81-O83: a time, the role of the process, the message; every line; and the wording of the rows."""
    daemon.client.submit("story.fail", {"message": "Rate limit exceeded"}).wait(20)
    daemon.client.call("story.double", number=1)
    until(lambda: "Command failed: ValueError: Rate limit exceeded" in daemon.log())
    assert "Processing command story.double" in daemon.log()
    lines = daemon.log().splitlines()
    assert [line for line in lines if not TEXT_LINE.fullmatch(line)] == []
    assert {"router", "consumer"} <= {line.split()[1] for line in lines}
    assert any("Command completed successfully" in line for line in lines)


def test_debug_lines_appear_only_when_asked_for(daemon: Daemon, make: Make) -> None:
    """O23: DEBUG=true, or the level; what a job logs for the curious is kept only then."""
    talkative = make("story", environ={"DEBUG": "true"})
    kept = []
    for one in (daemon, talkative):
        job = one.client.submit("story.whispers")
        job.result(20)
        kept.append(list(job.logs()))
    assert kept == [["for all"], ["for the curious", "for all"]]


def test_a_log_file_only_when_set(daemon: Daemon, make: Make) -> None:
    """V97-V99: by default no file anywhere; with the key set the lines are there too; JSON for programs."""
    assert {path.name for path in daemon.settings.folder.iterdir()} <= {
        "stoker.db", "stoker.db-wal", "stoker.db-shm", "stoker.db.lock", "stoker.sock", "stoker.sock.workers",
    }  # fmt: skip
    written = make("story", log_file="worker.log", log_format="json")
    written.client.call("story.double", number=1)
    until(lambda: "Command completed" in written.file("worker.log").read_text())
    lines = [json.loads(line) for line in written.file("worker.log").read_text().splitlines()]
    assert {"timestamp", "role", "level", "event"} <= set.intersection(*(set(line) for line in lines))


def test_two_daemons_side_by_side(daemon: Daemon, make: Make) -> None:
    """V87: two folders, two daemons; jobs, files and sockets do not meet."""
    other = make("story")
    job = daemon.client.submit("story.note", {"file": "mine.txt", "text": "x"})
    job.wait(20)
    assert daemon.file("mine.txt").exists()
    assert not other.file("mine.txt").exists()
    assert [record.id for record in other.client.jobs()] == []
    assert other.client.stats()["node"] == daemon.client.stats()["node"]
    assert other.client.stats()["boot"] != daemon.client.stats()["boot"]
    other.stop()
    assert daemon.client.call("story.double", number=1) == 2


def test_the_process_limit_is_raised(make: Make) -> None:
    """V105: to 1000 and the consumers where the hard limit lets; where it does not, a warning."""
    soft = make("story", prefix_argv=["prlimit", "--nproc=500:5000"])
    assert resource.prlimit(soft.router, resource.RLIMIT_NPROC) == (1010, 5000)
    hard = make("story", prefix_argv=["prlimit", "--nproc=900:900"])
    assert resource.prlimit(hard.router, resource.RLIMIT_NPROC)[0] == 900
    assert "RLIMIT_NPROC cannot be raised" in hard.log()
    assert hard.client.call("story.double", number=1) == 2


def test_the_limit_of_descriptors_is_raised_for_the_daemon_alone(make: Make) -> None:
    """The router has what the hard limit lets; jobs, and what is loaded for them, have what the daemon was given: who
    uses select() relies on it. So it is after a restart."""
    daemon = make("limits", "residents", prefix_argv=["prlimit", "--nofile=300:5000"])
    for _ in range(2):
        assert resource.prlimit(daemon.router, resource.RLIMIT_NOFILE) == (5000, 5000)
        assert resource.prlimit(daemon.zygote, resource.RLIMIT_NOFILE) == (300, 5000)
        assert daemon.client.call("limits.descriptors") == [300, 5000]
        assert daemon.client.call("res.descriptors") == [300, 5000]
        before = daemon.router
        daemon.client.ask("restart")
        until(lambda before=before: daemon.router != before and daemon.client.try_connect())  # type: ignore[misc]


def test_no_more_processes(make: Make) -> None:
    """V104, D28: when the system refuses to fork, jobs stay queued with their reason and unburned attempts; the daemon
    lives and says that it is ill; when there is room again, everything runs. As an ordinary user: root has no limit."""
    root = os.geteuid() == 0
    daemon = make("story", look=0.2, **({"user": NOBODY, "prefix_argv": wrapper()} if root else {}))
    zygote = daemon.zygote

    def limit(soft: int) -> tuple[int, int]:
        hard = resource.prlimit(zygote, resource.RLIMIT_NPROC)[1]
        return resource.prlimit(zygote, resource.RLIMIT_NPROC, (soft, hard))

    def as_owner(soft: int) -> None:
        before = as_other(lambda: limit(soft)) if root else limit(soft)
        assert len(before) == 2, before

    as_owner(1)
    jobs = [daemon.client.submit("story.double", number=number) for number in range(6)]
    until(lambda: "no process could be made" in daemon.log())
    until(lambda: "no process can be made" in str(jobs[-1].record().why))
    health = daemon.client.ask("health")
    assert health["ok"] is False
    assert "cannot fork" in health["message"]
    as_owner(10_000)
    assert [job.result(20) for job in jobs] == [2 * number for number in range(6)]
    assert {job.record().attempt for job in jobs} == {1}
    assert daemon.zygote == zygote
