"""The same as ``isolated`` with an application of 150 MB, which is what makes a fork dear."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.bench.figures import isolated
from stoker.bench.result import Result, Target
from stoker.bench.run import Run

FIGURES = {"isolated_150mb": Target(least=0.4, aim=0.7)}


def measure(run: Run) -> Iterator[Result]:
    yield isolated.compare(run, "isolated_150mb", "bench_heavy")
