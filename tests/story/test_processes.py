"""Router, zygote and consumers: who is there, how many, and what becomes of a job in them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker import Client, JobFailed
from tests.daemon import LOADED, Daemon, alive, process, until
from tests.story.conftest import Make

LIMIT = 3
ACCEPTS = 0x10000
"""The flag of a listening socket in /proc/net/unix (__SO_ACCEPTCON)."""
TCP_LISTEN = "0A"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("story", consumers_max=LIMIT, lease=1) as daemon:
        yield daemon


def test_a_long_task_never_blocks_its_caller(daemon: Daemon) -> None:
    """V1, V37: submit returns at once, and the job runs on."""
    job = daemon.client.submit("story.wait", {"gate": "v1"})
    daemon.wait_here("v1")
    assert job.status() == "running"
    daemon.open_gate("v1")
    job.result(20)


def test_a_job_outlives_its_client(daemon: Daemon) -> None:
    """V2: the client hangs up in the middle; later anybody reads the result."""
    client = daemon.another_client()
    id = client.submit("story.wait", {"gate": "v2"}).id
    daemon.wait_here("v2")
    client.close()
    daemon.open_gate("v2")
    (pid,) = daemon.here("v2")
    assert daemon.client.job(id).result(20) == pid


def test_three_processes_with_titles_in_a_line(daemon: Daemon) -> None:
    """V3-V6, V25, O76: up, router, zygote and consumer, each the parent of the next, each by its name."""
    job = daemon.client.submit("story.wait", {"gate": "v3"})
    (consumer,) = until(lambda: daemon.processes("consumer"))
    assert consumer.title == f"stoker-consumer story.wait {job.id}"
    assert consumer.parent == daemon.zygote
    zygote, router, up = process(daemon.zygote), process(daemon.router), process(daemon.pid)
    assert zygote is not None
    assert router is not None
    assert up is not None
    assert (zygote.parent, router.parent) == (router.pid, up.pid)
    assert up.title == "stoker-up"
    daemon.open_gate("v3")
    job.result(20)
    until(lambda: not daemon.pids("consumer"), what="no consumer when idle")


def test_the_title_prefix_is_a_setting(make: Make) -> None:
    """V4: the prefix of the titles is configuration."""
    daemon = make("story", prefix="vte-worker")
    titles = [one.title for one in daemon.processes()]
    assert "vte-worker-router" in titles
    assert "vte-worker-zygote" in titles


def test_the_limit_is_reached_and_never_passed(daemon: Daemon) -> None:
    """V15-V17, V58, V59, V106, O72: more sleepers than slots; the rest wait, and all finish."""
    jobs = [daemon.client.submit("story.wait", {"gate": "v15"}) for _ in range(LIMIT + 5)]
    daemon.wait_here("v15", LIMIT)
    stats = daemon.client.stats()
    assert stats["consumers"] == len(daemon.pids("consumer")) == LIMIT
    assert stats["queued"] == 5
    assert {slot["job"] for slot in stats["slots"]} == {job.id for job in jobs[:LIMIT]}
    why = jobs[-1].record().why
    assert why is not None
    assert f"all {LIMIT} slots are busy" in why
    assert "4 of the same command go first" in why
    daemon.open_gate("v15")
    most = 0
    while any(not job.record().ended for job in jobs):
        most = max(most, len(daemon.pids("consumer")))
    assert most <= LIMIT
    assert len({job.result(20) for job in jobs}) == len(jobs)


def test_one_process_for_each_job_forked_from_the_zygote(daemon: Daemon) -> None:
    """V14, V19, O18: as many pids as jobs, all children of the zygote, and none is left."""
    found = [daemon.client.call("story.whoami") for _ in range(20)]
    assert len({one["pid"] for one in found}) == 20
    assert {one["parent"] for one in found} == {daemon.zygote}
    assert os.getpid() not in {one["pid"] for one in found}
    until(lambda: not any(alive(one["pid"]) for one in found), what="the consumers are gone soon after")


def test_queued_jobs_start_in_the_order_of_submission(make: Make) -> None:
    """V18: with one slot the line is served first in, first out."""
    daemon = make("story", consumers_max=1)
    daemon.client.submit("story.wait", {"gate": "door"})
    daemon.wait_here("door")
    inputs = [{"file": "order.txt", "text": str(number)} for number in range(12)]
    jobs = daemon.client.submit_many("story.note", inputs)
    daemon.open_gate("door")
    starts = [job.result(20) for job in jobs]
    assert starts == sorted(starts)
    assert daemon.file("order.txt").read_text().split() == [str(number) for number in range(12)]


def test_the_default_limit_is_ten(make: Make) -> None:
    """V15: CONSUMERS_MAX is 10 where nothing is said."""
    daemon = make("story")
    jobs = [daemon.client.submit("story.wait", {"gate": "ten"}) for _ in range(14)]
    daemon.wait_here("ten", 10)
    assert daemon.client.stats()["queued"] == 4
    assert len(daemon.pids("consumer")) == 10
    daemon.open_gate("ten")
    for job in jobs:
        job.wait(20)
    assert len(daemon.here("ten")) == 14


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("SIGSEGV", "signal 11 (SIGSEGV)"),
        ("SIGKILL", "signal 9 (SIGKILL)"),
        ("SIGTERM", "signal 15 (SIGTERM)"),
        ("exit", "exit 0 without a result"),
        ("exit3", "exit 3 without a result"),
        ("sysexit", "sys.exit(0)"),
    ],
)
def test_a_crash_is_told_to_the_caller(daemon: Daemon, how: str, says: str) -> None:
    """V22, V23: whoever waits hears how the process died, within a second, and the slot is free again."""
    begun = time.monotonic()
    with pytest.raises(JobFailed) as caught:
        daemon.client.call("story.die", {"how": how})
    assert says in caught.value.message
    assert time.monotonic() - begun < 1.0 + LOADED
    assert daemon.client.stats()["consumers"] == 0


def test_a_crash_leaves_the_others_alone(daemon: Daemon) -> None:
    """V22: kill -9 one of the running consumers; the others return, and their daemon lives."""
    jobs = [daemon.client.submit("story.wait", {"gate": "v22"}) for _ in range(LIMIT)]
    pids = daemon.wait_here("v22", LIMIT)
    os.kill(pids[1], signal.SIGKILL)
    (gone,) = until(lambda: [job for job in jobs if job.record().ended])
    assert "signal 9" in str(gone.record().error)
    assert daemon.client.stats()["consumers"] == LIMIT - 1
    daemon.open_gate("v22")
    assert sorted(job.result(20) for job in jobs if job is not gone) == sorted({*pids} - {pids[1]})


def test_the_environment_is_loaded_once(daemon: Daemon) -> None:
    """V26: a side effect of importing the application happens once, however many jobs run."""
    for number in range(20):
        daemon.client.call("story.echo", {"value": number})
    assert daemon.file("imports.txt").read_text() == "once\n"


def test_no_time_limit_by_default(daemon: Daemon) -> None:
    """V27: a job without a limit outlives every period the daemon has (lease, look and grace are shorter here)."""
    job = daemon.client.submit("story.wait", {"gate": "v27"})
    daemon.wait_here("v27")
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > daemon.settings.lease + 2 * daemon.settings.look)
    assert job.status() == "running"
    daemon.open_gate("v27")
    job.result(20)
    assert job.record().attempt == 1
    assert len(daemon.here("v27")) == 1


def test_nothing_listens_but_the_configured_socket(daemon: Daemon) -> None:
    """V7, V24: the processes talk over socket pairs; one named socket is listened on, of the stream type."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines() if str(daemon.folder) in line]
    listening = [row for row in rows if int(row[3], 16) & ACCEPTS]
    assert [row[-1] for row in listening] == [str(daemon.settings.socket_path)]
    assert listening[0][4] == "0001", "SOCK_STREAM"
    pids = {daemon.pid, *(one.pid for one in daemon.processes())}
    held = {os.readlink(f"/proc/{pid}/fd/{fd}") for pid in pids for fd in os.listdir(f"/proc/{pid}/fd")}
    tcp = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert not [row for row in tcp if row[3] == TCP_LISTEN and f"socket:[{row[9]}]" in held]


def test_many_jobs_in_a_row(daemon: Daemon) -> None:
    """O34: after a job the daemon waits for the next; a hundred in a row, one router and one zygote."""
    before = daemon.router, daemon.zygote
    handles = daemon.client.submit_many("story.double", [{"number": number} for number in range(100)])
    assert [handle.result(30) for handle in handles] == [2 * number for number in range(100)]
    assert (daemon.router, daemon.zygote) == before


def test_the_socket_is_one_setting_for_both_sides(make: Make) -> None:
    """V9: change the key, and daemon and client both move."""
    daemon = make("story", socket="elsewhere.sock")
    assert daemon.file("elsewhere.sock").is_socket()
    client = Client(settings=daemon.settings)
    assert client.call("story.echo", {"value": 1}) == 1
    client.close()


def test_tcp_instead_of_a_path(make: Make) -> None:
    """V8: the same client works over TCP when it shows the token, and is refused when it does not."""
    daemon = make("story", listen="tcp://127.0.0.1:18741", token="a-long-token")
    for token, answers in (("a-long-token", True), ("another", False)):
        client = Client("tcp://127.0.0.1:18741", token=token, settings=daemon.settings)
        if answers:
            assert client.call("story.echo", {"value": "over tcp"}) == "over tcp"
        else:
            with pytest.raises(Exception, match="token"):
                client.ask("ping")
        client.close()
