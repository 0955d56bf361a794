"""The bench's own parts: the shape of results, the table, the file. Never how fast anything is."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import psycopg
import pytest
from rich.console import Console

from bench.__main__ import GROUPS
from stoker.bench import chart, machine, peers, pg_server, plan, report
from stoker.bench.daemon import DRIVERS, Helper
from stoker.bench.figures import warm_peers, warm_start
from stoker.bench.result import Missing, Result, Target, make
from stoker.bench.run import Effort, Run
from tests.daemon import until
from tests.postgres import bin_folder

NAMES = {
    "isolated", "isolated_150mb", "isolated_vs_rq", "start_p50", "start_p99", "roundtrip_p50", "submit_one",
    "submit_bulk", "claim_settle", "claim_settle_1m", "idle_cpu", "idle_pss", "consumer_private",
    "warm_drain", "warm_vs_huey", "warm_vs_dramatiq", "warm_vs_taskiq", "warm_vs_saq", "warm_vs_celery", "warm_vs_rq",
    "warm_vs_pgqueuer", "warm_start_p50", "warm_start_p99", "warm_load_p99", "moved_64mb", "moved_handover",
    "moved_peak", "async_sleep", "pool_idle_wakeups",
    "emit_p95_asgi", "emit_p95_native", "sse_rss_native", "sse_rss_asgi", "sse_fanout_native", "sse_10k", "streams_200",
    "pg_drain", "pg_drain_1m_ended", "pg_drain_1m_waiting", "pg_vs_pgqueuer", "pg_vs_procrastinate", "pg_submit_one",
    "pg_submit_bulk", "pg_start_p50", "pg_start_p99", "pg_nodes_1", "pg_nodes_2", "pg_nodes_4", "pg_idle_statements",
    "tick_lateness_p99", "load_100k", "schedule_next_zones", "schedules_idle_wakeups", "handover", "takeover",
    "slots_missed", "slots_doubled",
}  # fmt: skip
ROOT = Path(__file__).parents[2]
TARGETS = plan.targets(GROUPS)
FACTS: dict[str, Any] = {"machine": "a machine × 2", "python": "3.13.0", "disk": "ext4, fdatasync 40 µs"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, Effort(rounds=3), FACTS, lambda _done, _total: None)


def rendered(results: list[Result]) -> str:
    console = Console(width=160, file=io.StringIO())
    with console.capture() as capture:
        console.print(report.table(results, TARGETS))
    return capture.get()


def test_every_figure_of_the_issue_is_there_once() -> None:
    assert set(TARGETS) == NAMES
    assert sum(len(group.figures) for group in GROUPS) == len(NAMES)


def test_every_figure_is_told_in_the_docs() -> None:
    text = (ROOT / "docs/bench.md").read_text("utf-8")
    assert [name for name in NAMES if f"`{name}`" not in text] == []


def test_only_takes_the_figures_whose_names_begin_so() -> None:
    assert [names for _, names in plan.chosen(GROUPS, "start")] == [["start_p50", "start_p99"]]
    assert [name for _, names in plan.chosen(GROUPS, "moved_p,start_p9") for name in names] == [
        "start_p99", "moved_peak",
    ]  # fmt: skip
    assert [name for _, names in plan.chosen(GROUPS, "") for name in names] == list(TARGETS)
    with pytest.raises(ValueError, match=r"no figure begins with 'isolate_'; there are isolated, "):
        list(plan.chosen(GROUPS, "start,isolate_"))


def test_what_is_measured_beside_peers_has_all_of_workers_and_buffers() -> None:
    shown = plan.targets([*plan.BRIEF, *plan.PEERS])
    assert {name for name in NAMES if name.startswith(("warm_", "moved_", "async_", "pool_"))} <= set(shown)


def test_floor_and_product_take_turns(run: Run) -> None:
    order: list[str] = []

    def measured(name: str, value: float) -> float:
        order.append(name)
        return value * len(order)

    floors, values = run.alternate(lambda: measured("floor", 1), lambda: measured("product", 10))
    assert order == ["floor", "product"] * 3
    assert (floors, values) == ([1, 3, 5], [20, 40, 60])


def test_a_result_holds_the_medians_and_their_ratio(run: Run) -> None:
    result = run.result("isolated", [3.0, 900.0, 4.0], "jobs/s", [8.0, 0.1, 9.0], jobs=7)
    assert (result.value, result.floor, result.ratio) == (4.0, 8.0, 0.5)
    assert result.settings["jobs"] == 7
    assert result.settings["floor_rounds"] == [8.0, 0.1, 9.0]
    assert result.settings["machine"] == FACTS["machine"]
    assert isinstance(result.settings["load"], float)


@pytest.mark.parametrize(
    ("target", "value", "floor", "met"),
    [
        (Target(least=0.4), 4.0, 10.0, True),
        (Target(least=0.4), 3.9, 10.0, False),
        (Target(most=3), 40.0, 10.0, False),
        (Target(most=3), 2.9, None, True),
        (Target(most=3), None, None, None),
        (Target(), 1.0, 1.0, None),
    ],
)
def test_a_target_judges_the_ratio_or_the_value_alone(
    target: Target, value: float | None, floor: float | None, met: bool | None
) -> None:
    assert target.met(make("x", value, "u", floor, {})) is met


def test_the_file_is_a_list_of_results(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "latest.json"
    report.write([run.result("isolated", [4.0], "jobs/s", [8.0]), run.missing("idle_pss", "MB", "no /proc")], path)
    first, second = json.loads(path.read_text())
    assert list(first) == ["name", "value", "unit", "floor", "ratio", "settings"]
    assert (first["name"], first["ratio"]) == ("isolated", 0.5)
    assert (second["value"], second["floor"], second["ratio"]) == (None, None, None)
    assert second["settings"]["missing"] == "no /proc"


def test_the_table_tells_value_floor_ratio_target_and_settings(run: Run) -> None:
    text = rendered(
        [
            run.result("isolated", [1234.0], "jobs/s", [4000.0], jobs=7),
            run.missing("isolated_vs_rq", "jobs/s", "no redis-server here"),
        ]
    )
    assert "a machine × 2 · Python 3.13.0 · ext4, fdatasync 40 µs" in text
    line = next(line for line in map(str.strip, text.splitlines()) if line.startswith("isolated "))
    assert re.split(r"  +", line)[:6] == ["isolated", "1,234", "jobs/s", "4,000", "0.308", "≥ 0.4 (aim 0.7) ✗"]
    assert "jobs 7" in line
    assert "missing no redis-server here" in text


def test_the_machine_is_told(tmp_path: Path) -> None:
    facts = machine.facts(tmp_path)
    assert set(facts) == set(FACTS)
    assert facts["disk"].startswith(f"{machine.filesystem(tmp_path)}, fdatasync ")
    assert list(tmp_path.iterdir()) == []


def test_the_program_measures_and_writes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    argv = [sys.executable, "-m", "bench", "--quick", "--only", "claim", "--output", str(path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "claim_settle_1m" in done.stdout
    found = {result["name"]: result for result in json.loads(path.read_text())}
    assert list(found) == ["claim_settle", "claim_settle_1m"]
    assert all(result["value"] > 0 and result["ratio"] > 0 for result in found.values())
    assert found["claim_settle_1m"]["floor"] == found["claim_settle"]["value"]


def test_what_workers_and_buffers_do_can_be_measured(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    wanted = ["warm_drain", "warm_load_p99", "moved_64mb", "moved_handover", "async_sleep", "pool_idle_wakeups"]
    argv = [sys.executable, "-m", "bench", "--quick", "--only", ",".join(wanted), "--output", str(path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {result["name"]: result for result in json.loads(path.read_text())}
    assert list(found) == wanted
    assert all(result["value"] > 0 for result in found.values() if result["name"] != "pool_idle_wakeups")
    assert found["async_sleep"]["ratio"] <= 1
    assert found["pool_idle_wakeups"]["settings"]["workers"] == 3


def test_an_unknown_figure_is_one_line_and_a_code(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "bench", "--only", "nothing", "--output", str(tmp_path / "figures.json")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no figure begins with 'nothing'" in done.stdout
    assert not (tmp_path / "figures.json").exists()


# ── peers ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_peer_has_a_driver_and_is_installed() -> None:
    wanted = "\n".join(line for name in (peers.TOGETHER, *peers.ALONE) for line in peers.requirements(name))
    for name in warm_peers.PEERS:
        assert re.search(rf"^{name}\b", wanted, re.M), name
    for name in (*warm_peers.ON_REDIS, *warm_start.PEERS):
        assert (DRIVERS / f"peer_{name}.py").is_file()
    assert set(chart.NAMES) == set(warm_peers.PEERS)


QUEUE = """
import sys, time
from pathlib import Path
import counting

JOBS = Path({folder!r}) / "jobs"

class Queue:
    NAMES, HOW, PROCESSES = ("rich",), "a file", 2

    def workers(self):
        return [[sys.executable, "-m", "peer_file", str(number)] for number in (0, 1)]

    def fill(self, count):
        with JOBS.open("ab", buffering=0) as file:
            file.write(b"j" * count)

    def send(self):
        self.fill(1)

    def free(self):
        return True

PEER = Queue()

if __name__ == "__main__":
    mine = 0
    while True:
        there = JOBS.stat().st_size if JOBS.exists() else 0
        while mine < (there + 1 - int(sys.argv[1])) // 2:
            counting.begun()
            mine += 1
        time.sleep(0.002)
"""
"""A queue of our own under the driver of the peers: two processes take every other letter of a file."""


def test_a_peer_does_its_jobs_when_it_is_let_loose_and_never_else(tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    counts.mkdir()
    (tmp_path / "peer_file.py").write_text(QUEUE.format(folder=str(tmp_path)))
    environ = {"BENCH_COUNTS": str(counts), "PYTHONPATH": f"{DRIVERS}{os.pathsep}{tmp_path}"}
    with Helper(tmp_path, str(DRIVERS / "peer.py"), "file", environ=environ) as peer:
        assert re.fullmatch(r"rich [\d.]+, a file", peer.ask("version"))
        workers = [one for one in psutil.process_iter(["cmdline"]) if "peer_file" in (one.info["cmdline"] or [])]
        workers = [one for one in workers if str(tmp_path) in one.environ().get("PYTHONPATH", "")]
        assert len(workers) == 2

        def held() -> bool:
            return all(one.status() == psutil.STATUS_STOPPED for one in workers)

        until(held, what="the workers are stopped")
        assert float(peer.ask("2000")) > 0
        seen = json.loads(peer.ask("start 5"))
        assert len(seen) == 5
        assert all(0 < one < 60_000 for one in seen)
        until(held, what="the workers are stopped again")
    assert not any(one.is_running() for one in workers)


def test_a_peer_whose_worker_ends_says_so(tmp_path: Path) -> None:
    (tmp_path / "peer_file.py").write_text(QUEUE.format(folder=str(tmp_path)).replace("while True", "while False"))
    environ = {"BENCH_COUNTS": str(tmp_path), "PYTHONPATH": f"{DRIVERS}{os.pathsep}{tmp_path}"}
    with (
        Helper(tmp_path, str(DRIVERS / "peer.py"), "file", environ=environ) as peer,
        pytest.raises(RuntimeError, match="a worker of the peer ended"),
    ):
        peer.ask("version")


def test_what_threads_and_forks_did_is_counted(tmp_path: Path) -> None:
    program = """
import os, threading, counting
def work():
    for _ in range(1000):
        counting.done()
work()
pid = os.fork()
threads = [threading.Thread(target=work) for _ in range(3)]
[one.start() for one in threads]
[one.join() for one in threads]
if not pid:
    os._exit(0)
os.waitpid(pid, 0)
counting.begun()
counts = counting.Counts()
print(counts.total(), counts.processes(), counts.last())
"""
    environ = {**os.environ, "BENCH_COUNTS": str(tmp_path), "PYTHONPATH": str(DRIVERS)}
    before = time.time()
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    total, processes, last = done.stdout.split()
    assert (total, processes) == ("7001", "2")
    assert before <= float(last) <= time.time()


def test_the_server_for_a_peer_writes_to_disk_and_goes(tmp_path: Path) -> None:
    with pg_server.server(tmp_path / "pg", bin_folder()) as url, psycopg.connect(url) as db:
        told = [db.execute(f"SHOW {name}".encode()).fetchone() for name in ("fsync", "synchronous_commit")]
        assert told == [("on",), ("on",)]
        pid = int((tmp_path / "pg" / "data" / "postmaster.pid").read_text().split()[0])
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
    with pytest.raises(Missing, match="no PostgreSQL can be made here: "), pg_server.server(tmp_path / "x", tmp_path):
        pass


# ── the chart ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_chart_has_a_bar_for_each_system_the_fastest_first(run: Run, tmp_path: Path) -> None:
    results = [
        run.result("warm_drain", [5.0], "jobs/s", [9.0]),
        run.result("warm_vs_huey", [4000.0], "jobs/s", [1000.0]),
        run.missing("warm_vs_rq", "jobs/s", "no redis-server"),
        run.result("warm_vs_pgqueuer", [4000.0], "jobs/s", [8000.0]),
    ]
    rows = chart.bars(results)
    assert list(rows) == [("PgQueuer", 8000.0), ("Stoker", 4000.0), ("Huey", 1000.0)]
    chart.write(rows, results, tmp_path / "new" / "peers.svg")
    text = (tmp_path / "new" / "peers.svg").read_text("utf-8")
    root = ElementTree.fromstring(text)
    name = "{http://www.w3.org/2000/svg}"
    widths = [float(one.attrib["width"]) for one in root.iter(f"{name}rect")]
    assert widths[0] / widths[2] == pytest.approx(8, rel=0.01)
    words = [one.text for one in root.iter(f"{name}text")]
    assert words[2:8] == ["PgQueuer", "8,000", "Stoker", "4,000", "Huey", "1,000"]
    assert words[-1] == report.caption(results)
    assert "@media (prefers-color-scheme: dark)" in text
    assert len(words[-1] or "") < 120


def test_without_a_peer_there_is_no_chart(run: Run) -> None:
    assert list(chart.bars([run.missing("warm_vs_rq", "jobs/s", "no redis-server")])) == []


# ── stoker bench ─────────────────────────────────────────────────────────────────────────────────────────────────────


def stoker(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "stoker", "bench", *words]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=100)


def test_stoker_bench_measures_where_there_is_no_repository(tmp_path: Path) -> None:
    done = stoker("--only", "moved_peak", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["name"] == "moved_peak"
    assert 0.9 < found["value"] < 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", "nothing"), "stoker: no figure begins with 'nothing'; there are isolated, "),
        (("--only", "warm_vs_rq"), "stoker: no figure begins with 'warm_vs_rq'; there are isolated, "),
        (("--chart", "x.svg"), "stoker: --chart draws the peers: add --peers"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = stoker(*words, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
