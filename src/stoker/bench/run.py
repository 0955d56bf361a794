"""One run of the bench: how much is done, where, and the rule that floor and product take turns."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from stoker.bench import machine
from stoker.bench.result import Result, make


class Effort(msgspec.Struct, frozen=True):
    """How much is measured. ``seconds`` is how long one measurement of a rate should take."""

    rounds: int = 5
    seconds: float = 3.0
    samples: int = 200
    bulk: int = 10_000
    batch_jobs: int = 40_000
    drained: int = 20_000
    ended: int = 1_000_000
    idle: float = 20.0
    warm: int = 50_000
    naps: int = 5000
    moves: int = 20
    scheduled: int = 10_000
    handovers: int = 200

    def count(self, rate: float, most: int = 30_000) -> int:
        """Jobs that take about ``seconds`` at this rate."""
        return max(20, min(most, round(rate * self.seconds)))


BRIEF = Effort(rounds=3, seconds=0.5, samples=100, bulk=5000, idle=5.0, warm=10_000, moves=5, scheduled=2000)
"""For a first impression, in a minute or so."""
QUICK = Effort(
    rounds=1, seconds=0.1, samples=5, bulk=200, batch_jobs=1000, drained=500, ended=5000, idle=0.5, warm=500, naps=500,
    moves=2, scheduled=100, handovers=10,
)  # fmt: skip
"""Whether the bench itself works; its numbers mean nothing."""


class Run:
    """What a group of figures is given to measure with. ``on_round`` hears of each measurement: how many are done, of
    how many."""

    def __init__(
        self, folder: Path, effort: Effort, facts: dict[str, Any], on_round: Callable[[int, int], None]
    ) -> None:
        self.folder = folder
        self.effort = effort
        self._facts = facts
        self._on_round = on_round
        self._load = machine.load()

    def fresh(self) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def alternate(self, *measures: Callable[[], float]) -> list[list[float]]:
        """Measure in turns, round by round, so that what slows the machine down for a while slows all of them; what
        each measured."""
        seen: list[list[float]] = [[] for _ in measures]
        total = self.effort.rounds * len(measures)
        for number in range(total):
            self._on_round(number, total)
            which = number % len(measures)
            seen[which].append(measures[which]())
        self._on_round(total, total)
        return seen

    def result(
        self, name: str, values: list[float], unit: str, floors: list[float] | None = None, **settings: Any
    ) -> Result:
        """The medians as a figure, with all rounds among its settings."""
        told: dict[str, Any] = {**settings, "rounds": [_short(value) for value in values]}
        if floors is not None:
            told["floor_rounds"] = [_short(value) for value in floors]
        floor = None if floors is None else statistics.median(floors)
        return make(name, statistics.median(values), unit, floor, {**told, "load": self._load, **self._facts})

    def missing(self, name: str, unit: str, why: str) -> Result:
        """A figure that cannot be had here."""
        return make(name, None, unit, None, {"missing": why, "load": self._load, **self._facts})


def _short(number: float) -> float:
    return float(f"{number:.4g}")
