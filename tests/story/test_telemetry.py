"""Figures of every worker, of the machine, of pools and commands: right, pushed, kept, and free for the idle."""

from __future__ import annotations

import itertools
import os
import re
import statistics
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from stoker.model.errors import RequestError
from tests.daemon import LOADED, Daemon, until
from tests.fleet import Fleet
from tests.raw import RawClient
from tests.story.conftest import Make

EVERY = 0.5
TICK = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("telemetry", kill_grace=0.3, environ={"STOKER_STATS_EVERY": str(EVERY)}) as daemon:
        until(lambda: len(daemon.pids("resident")) == 4)
        until(lambda: all(one["state"] != "starting" for one in pings(daemon)))
        yield daemon


def pings(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = daemon.client.ask("getWorkerPings", list[dict[str, Any]])
    return found


def of(workers: list[dict[str, Any]], product: str) -> dict[str, Any]:
    (found,) = [one for one in workers if one["product"] == product]
    return found


def subscribed(raw: RawClient) -> RawClient:
    assert raw.call(1, "subscribe", topic="sys-stats")["type"] == "return"
    return raw


def sample(raw: RawClient) -> dict[str, Any]:
    """The next one that is pushed."""
    while (message := raw.receive()).get("event") != "sys-stats":
        pass
    found: dict[str, Any] = message["data"]
    return found


def processor(pid: int) -> float:
    """Seconds of processor time, by the kernel's own count."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def switches(pid: int) -> int:
    """How often a process has gone to sleep: each is a wake-up before."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[0])


# ── every worker ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_is_an_entry_for_each_live_worker(daemon: Daemon) -> None:
    """P49, H13: the processes that the kernel shows, consumers and those that wait for a job among them."""

    def agree() -> bool:
        live = {one.pid for role in ("resident", "consumer", "spare") for one in daemon.processes(role)}
        return {one["pid"] for one in pings(daemon)} == live

    until(agree)
    assert {one["product"] for one in pings(daemon) if one["isolation"] != "fork"} == {
        "images", "quiet", "loops", "threads",
    }  # fmt: skip


def test_active_jobs_are_counted_and_never_drift(daemon: Daemon) -> None:
    """P40, P41: three running jobs are three, and after fifty good ones and fifty that fail there are none."""
    three = [daemon.client.submit("threads.held", gate="three") for _ in range(3)]
    daemon.wait_here("three", 3)
    worker = of(pings(daemon), "threads")
    assert worker["activeJobs"] == 3
    assert worker["command"] == "threads.held"
    assert worker["job"] in {job.id for job in three}
    hundred = [daemon.client.submit("loops.coin", number=number) for number in range(100)]
    assert [job.wait(30).status for job in hundred].count("failed") == 50
    daemon.open_gate("three")
    assert {job.wait(20).status for job in three} == {"completed"}
    until(lambda: [one["activeJobs"] for one in pings(daemon)] == [0] * len(pings(daemon)))
    assert of(pings(daemon), "loops")["done"] >= 100


def test_the_heap_rises_with_what_is_allocated(daemon: Daemon) -> None:
    """P43, P44, H15: a hundred MB more while the job holds them, large blocks and small ones, and less afterwards."""
    before = of(pings(daemon), "images")
    job = daemon.client.submit("images.grow", megabytes=100, gate="grown")
    daemon.wait_here("grown")
    grown = until(lambda: found if (found := of(pings(daemon), "images"))["heapUsedMB"] > 60 else {})
    assert grown["activeJobs"] == 1
    assert grown["heapUsedMB"] - before["heapUsedMB"] == pytest.approx(100, abs=10)
    assert all(one["heapTotalMB"] >= one["heapUsedMB"] for one in (before, grown))
    assert grown["ussMB"] - before["ussMB"] > 40, "a bytearray of zeros is not touched, the small ones are"
    assert grown["rssMB"] == pytest.approx(grown["ussMB"] + grown["sharedMB"], abs=0.2)
    daemon.open_gate("grown")
    assert job.wait(20).status == "completed"
    after = until(lambda: found if (found := of(pings(daemon), "images"))["activeJobs"] == 0 else {})
    assert after["heapUsedMB"] == pytest.approx(before["heapUsedMB"], abs=5)


def test_the_processor_is_the_kernels_figure(daemon: Daemon) -> None:
    """P45, H16: a busy loop takes what the kernel lets it, an idle worker less than 5 %."""
    job = daemon.client.submit("images.spin", gate="spin")
    (pid,) = daemon.wait_here("spin")
    close = []
    with daemon.raw() as raw:
        sample(subscribed(raw))
        at, used = time.monotonic(), processor(pid)
        for _ in range(8):
            workers = sample(raw)["workers"]
            now, total = time.monotonic(), processor(pid)
            really = 100 * (total - used) / (now - at)
            at, used = now, total
            told = of(workers, "images")
            close.append(abs(told["cpuPercent"] - really))
            assert of(workers, "quiet")["cpuPercent"] < 5
    daemon.open_gate("spin")
    assert job.wait(20).status == "completed"
    print(f"off by {close} percent")
    assert min(close) < 10
    assert told["busyPercent"] > 90
    assert told["eluPercent"] > 90


def test_loop_utilisation_is_the_part_in_which_it_did_not_wait(daemon: Daemon) -> None:
    """P46: held up half of the time is half, though the processor is idle; waiting coroutines are nothing."""
    half = daemon.client.submit("loops.half", gate="half")
    daemon.wait_here("half")
    with daemon.raw() as raw:
        subscribed(raw)
        until(lambda: of(sample(raw)["workers"], "loops")["eluPercent"], what="it is known since when it works")
        found = [of(sample(raw)["workers"], "loops") for _ in range(6)]
    daemon.open_gate("half")
    half.wait(20)
    print([one["eluPercent"] for one in found])
    assert 40 <= statistics.median(one["eluPercent"] for one in found) <= 60
    waits = [daemon.client.submit("loops.waits", gate="waits") for _ in range(5)]
    daemon.wait_here("waits", 5)
    with daemon.raw() as raw:
        subscribed(raw)
        found = [of(sample(raw)["workers"], "loops") for _ in range(4)]
    daemon.open_gate("waits")
    assert {job.wait(20).status for job in waits} == {"completed"}
    assert min(one["eluPercent"] for one in found) < 20
    assert max(one["activeJobs"] for one in found) == 5
    assert 3 <= statistics.median(one["busyPercent"] for one in found) <= 7, "five of a hundred slots"


def test_loop_and_jobs_are_told_over_the_same_time(daemon: Daemon) -> None:
    """Whoever looks soon after an idle worker got a job sees its loop as busy as its slot; both fall when it ends."""
    with daemon.raw() as raw:
        subscribed(raw)
        until(lambda: of(sample(raw)["workers"], "images")["busyPercent"] == 0, what="it is idle")
        job = daemon.client.submit("images.spin", gate="same")
        daemon.wait_here("same")
        found = [of(pings(daemon), "images") for _ in range(20)]
        found += [of(sample(raw)["workers"], "images") for _ in range(4)]
        print([(one["busyPercent"], one["eluPercent"]) for one in found])
        assert all(abs(one["busyPercent"] - one["eluPercent"]) < 15 for one in found)
        assert found[-1]["eluPercent"] > 50
        daemon.open_gate("same")
        job.wait(20)
        until(lambda: of(sample(raw)["workers"], "images")["busyPercent"] == 0)
        assert of(sample(raw)["workers"], "images")["eluPercent"] < 10


def test_an_idle_worker_is_not_woken_unless_somebody_looks(daemon: Daemon) -> None:
    (pid,) = [one["pid"] for one in pings(daemon) if one["product"] == "quiet"]
    with daemon.raw() as raw:
        sample(subscribed(raw))
        before = switches(pid)
        heartbeats = {of(sample(raw)["workers"], "quiet")["heartbeat"] for _ in range(4)}
        assert switches(pid) == before
        assert len(heartbeats) == 1
    assert of(pings(daemon), "quiet")["heartbeat"] not in heartbeats
    assert switches(pid) > before


# ── the machine, and all of it again and again ───────────────────────────────────────────────────────────────────────


def test_the_machine_is_as_proc_shows_it(daemon: Daemon) -> None:
    """P48: processor, memory, load and uptime."""
    system = daemon.client.ask("getSystemInfo", dict[str, Any])
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M))
    assert system["memoryTotalMB"] == pytest.approx(int(memory["MemTotal"]) / 1024, rel=0.01)
    assert system["memoryAvailableMB"] == pytest.approx(int(memory["MemAvailable"]) / 1024, rel=0.2)
    assert system["uptime"] == pytest.approx(float(Path("/proc/uptime").read_text().split()[0]), abs=10)
    assert system["load"][0] == pytest.approx(float(Path("/proc/loadavg").read_text().split()[0]), abs=2)
    assert system["cores"] == os.cpu_count()
    assert 0 <= system["cpuPercent"] <= 100


def test_samples_come_at_their_period_to_everybody_who_subscribed(daemon: Daemon) -> None:
    """P47, P50: to two at once, without asking, at the set period."""
    with daemon.raw() as one, daemon.raw() as other:
        subscribed(one), subscribed(other)
        first, second = ([sample(raw) for _ in range(8)] for raw in (one, other))
    shared = {each["at"] for each in first} & {each["at"] for each in second}
    assert len(shared) >= 6
    moments = [datetime.fromisoformat(each["at"]).timestamp() for each in first]
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert statistics.median(gaps) == pytest.approx(EVERY, rel=0.2)
    assert {role["role"] for role in first[0]["processes"]} >= {"router", "zygote"}
    assert first[0]["node"] == daemon.client.stats()["node"]


# ── what jobs did ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_waits_and_runs_are_told_by_command(make: Make) -> None:
    """Of a command: how long its jobs waited for a slot, how long they ran, how many failed; also after a restart."""
    daemon = make("telemetry", environ={"STOKER_STATS_EVERY": "0.2"}, consumers_max=1)
    done = [daemon.client.submit("plain.takes", seconds=0.1) for _ in range(3)]
    failed = [daemon.client.submit("plain.fails") for _ in range(2)]
    later = daemon.client.submit("plain.takes", {"seconds": 0.1}, delay=4.0)
    assert {job.wait(30).status for job in [*done, later]} == {"completed"}
    assert {job.wait(30).status for job in failed} == {"failed"}
    rows = {row["command"]: row for row in daemon.client.ask("command_stats")}
    takes, fails = rows["plain.takes"], rows["plain.fails"]
    assert takes["runs"]["count"] == takes["waits"]["count"] == 4
    assert 0.05 <= takes["runs"]["p50"] < 0.1 + LOADED
    assert takes["waits"]["p99"] >= 0.15, "the third waited for two others"
    assert takes["waits"]["p99"] < 4.0, "the delay that was asked for is no wait"
    assert (fails["runs"]["count"], fails["failed"]) == (2, 2)

    def kept() -> list[dict[str, Any]]:
        return [one for each in daemon.client.ask("stats_history", list[dict[str, Any]]) for one in each["commands"]]

    def count() -> tuple[int, int]:
        return (
            sum(one["done"] for one in kept() if one["command"] == "plain.takes"),
            sum(one["failed"] for one in kept() if one["command"] == "plain.fails"),
        )

    until(lambda: count() == (4, 2), what="all of it in the store")
    daemon.stop()
    daemon.start()
    assert count() == (4, 2)
    text = daemon.client.ask("metrics", str)
    assert "stoker_attempts_total" not in text, "counters begin anew with their process"


def test_metrics_are_what_prometheus_reads(make: Make) -> None:
    daemon = make("telemetry", environ={"STOKER_STATS_EVERY": "0.2", "STOKER_NODE": 'a"b\\c'})
    daemon.client.call("plain.takes", seconds=0)
    daemon.client.call("images.nothing")

    def page() -> str:
        found: str = daemon.client.ask("metrics", str)
        return found if "heap_used" in found and "worker_jobs_total" in found else ""

    text = until(page)
    names = set()
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            names.add(line.split()[2])
        elif not line.startswith("#"):
            assert re.fullmatch(r'\w+(\{(\w+="([^"\\\n]|\\["\\n])*",?)*\})? [-+.\deEInf]+', line), line
    assert r'node="a\"b\\c"' in text
    assert names >= {
        "stoker_job_wait_seconds", "stoker_job_run_seconds", "stoker_worker_heap_used_bytes",
        "stoker_worker_cpu_seconds_total", "stoker_pool_workers", "stoker_process_resident_memory_bytes",
    }  # fmt: skip
    assert re.search(r'^stoker_job_run_seconds_count\{command="images.nothing"\} 1$', text, re.M)
    assert re.search(r'^stoker_job_run_seconds_bucket\{command="plain.takes",le="\+Inf"\} 1$', text, re.M)


def test_dispatched_jobs_are_counted_too(make: Make) -> None:
    daemon = make("telemetry", environ={"STOKER_STATS_EVERY": "0.2"})
    until(lambda: [one["state"] for one in pings(daemon) if one["product"] == "images"] == ["ready"])
    with daemon.raw() as raw:
        raw.send({"type": "job", "jobId": "a", "product": "images", "action": "nothing", "payload": {}})
        assert raw.receive()["type"] == "job_result"
    text = daemon.client.ask("metrics", str)
    assert 'stoker_job_run_seconds_count{command="images.nothing"} 1' in text


@pytest.mark.parametrize("asked", [{"seconds": 0}, {"seconds": -1}, {"limit": 0}, {"limit": 10**6}])
def test_history_refuses_what_makes_no_sense(daemon: Daemon, asked: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=r"seconds|limit"):
        daemon.client.ask("stats_history", list[Any], **asked)


def test_people_see_it_without_another_tool(daemon: Daemon) -> None:
    """P53: memory, processor and jobs of each worker."""
    with daemon.raw() as raw:
        told = raw.call(2, "pools")["data"]
    worker = next(one for one in told if one["product"] == "quiet")["processes"][0]
    assert {"cpuPercent", "rssMB", "ussMB", "heapUsedMB", "activeJobs", "eluPercent", "heartbeat"} <= worker.keys()


def test_a_great_many_ended_jobs_are_counted_right(fleet: Fleet) -> None:
    """Not for every question: but what has become of them is seen within seconds, and health does not count at all."""
    node = fleet.node("one", "telemetry")
    job = node.client.submit("plain.fails", retries=0)
    assert job.wait(30).status == "failed"
    row = fleet.sql("SELECT seq FROM stoker.ended")[0][0]
    fleet.sql(
        "INSERT INTO stoker.ended (seq, id, command, state, waits, priority, attempt, fence, round, created, updated, "
        "run_at, finished, input) SELECT -n, 'x' || n, command, 'completed', waits, priority, attempt, fence, round, "
        "created, updated, run_at, finished, input FROM stoker.ended, generate_series(1, 100000) n WHERE seq = %s", row
    )  # fmt: skip
    stats = node.client.stats()
    assert (stats["completed"], stats["failed"], stats["running"]) == (100_000, 1, 0)
    gated = node.client.submit("plain.gated", gate="counted")
    node.wait_here("counted")
    assert node.client.stats()["running"] == 1, "these are as they are now"
    node.open_gate("counted")
    assert gated.wait(20).status == "completed"
    job.retry()
    until(lambda: node.client.stats()["completed"] == 100_001)
    assert job.wait(20).status == "failed"
    until(lambda: node.client.stats()["failed"] == 1)
    assert 'stoker_jobs{state="completed"} 100001' in node.client.ask("metrics", str)


def test_nodes_of_one_store_see_each_others_figures(fleet: Fleet) -> None:
    """On PostgreSQL: what one node ran is in the history that another gives, under its name."""
    quick = {"STOKER_STATS_EVERY": "0.2"}
    one = fleet.node("one", "telemetry", environ=quick)
    assert one.client.submit("plain.takes", seconds=0.1).wait(30).status == "completed"
    other = fleet.node("other", "telemetry", environ=quick)

    def told() -> dict[str, int]:
        history = other.client.ask("stats_history", list[dict[str, Any]], node="one")
        return {each["node"]: command["done"] for each in history for command in each["commands"]}

    assert until(told) == {"one": 1}
    (row,) = one.client.ask("command_stats", list[dict[str, Any]])
    assert 0 < row["waits"]["p50"] < 10, "by one clock, though the server has another"
    assert other.client.ask("stats_history", list[Any], node="nobody") == []
