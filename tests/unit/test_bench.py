"""The bench's own parts: the shape of results, the table, the file. Never how fast anything is."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import machine, plan, report
from bench.result import Result, Target, make
from bench.run import Effort, Run

NAMES = {
    "isolated", "isolated_150mb", "isolated_vs_rq", "start_p50", "start_p99", "roundtrip_p50", "submit_one",
    "submit_bulk", "claim_settle", "claim_settle_1m", "idle_cpu", "idle_pss", "consumer_private",
    "pg_drain", "pg_drain_1m_ended", "pg_drain_1m_waiting", "pg_vs_pgqueuer", "pg_vs_procrastinate", "pg_submit_one",
    "pg_submit_bulk", "pg_start_p50", "pg_start_p99", "pg_nodes_1", "pg_nodes_2", "pg_nodes_4", "pg_idle_statements",
}  # fmt: skip
ROOT = Path(__file__).parents[2]
FACTS: dict[str, Any] = {"machine": "a machine × 2", "python": "3.13.0", "disk": "ext4, fdatasync 40 µs"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, Effort(rounds=3), FACTS, lambda _done, _total: None)


def rendered(results: list[Result]) -> str:
    console = Console(width=160, file=io.StringIO())
    with console.capture() as capture:
        console.print(report.table(results, plan.TARGETS))
    return capture.get()


def test_every_figure_of_the_issue_is_there_once() -> None:
    assert set(plan.TARGETS) == NAMES
    assert sum(len(group.figures) for group in plan.GROUPS) == len(NAMES)


def test_only_takes_the_figures_whose_names_begin_so() -> None:
    assert [names for _, names in plan.chosen("start")] == [["start_p50", "start_p99"]]
    assert [name for _, names in plan.chosen("") for name in names] == list(plan.TARGETS)
    with pytest.raises(ValueError, match=r"no figure begins with 'isolate_'; there are isolated, "):
        list(plan.chosen("isolate_"))


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


def test_an_unknown_figure_is_one_line_and_a_code(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "bench", "--only", "nothing", "--output", str(tmp_path / "figures.json")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no figure begins with 'nothing'" in done.stdout
    assert not (tmp_path / "figures.json").exists()
