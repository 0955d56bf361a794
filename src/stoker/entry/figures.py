"""Figures of processes and durations, as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from stoker.entry import show
from stoker.model.quantities import show_seconds, show_size
from stoker.model.stats import MB, FleetWorker, ProcessInfo, WorkerInfo

NUMBERS = ("pid", "cpu", "busy", "loop", "memory", "own", "heap", "jobs", "done")


def processes(others: Sequence[ProcessInfo], workers: Sequence[WorkerInfo]) -> Table:
    """What a daemon consists of: first what runs no jobs, then what does."""
    columns = ("pid", "process", "cpu", "busy", "loop", "memory", "own", "heap", "jobs", "done", "runs")
    rows = [*map(_other, others), *map(_worker, workers)]
    return show.table(columns, rows, right=NUMBERS, fold=False)


def fleet(workers: Sequence[FleetWorker]) -> Table:
    """The workers of every node, and how long ago each was looked at."""
    columns = ("node", "seen", "pid", "process", "cpu", "busy", "loop", "memory", "own", "heap", "jobs", "done", "runs")
    seen = [f"{show_seconds(one.seen_ago)} ago" if one.seen_ago else "now" for one in workers]
    rows = [(one.node, ago, *_worker(one)) for one, ago in zip(workers, seen, strict=True)]
    return show.table(columns, rows, right=NUMBERS, fold=False)


def _other(one: ProcessInfo) -> tuple[Any, ...]:
    nothing = (None,) * 3
    return (
        one.pid, one.role, _percent(one.cpu_percent), None, None, _size(one.rss_mb), _size(one.uss_mb), *nothing, ""
    )  # fmt: skip


def _worker(one: WorkerInfo) -> tuple[Any, ...]:
    if one.isolation == "fork":
        name = "spare" if one.state == "spare" else "consumer"
    else:
        name = f"{one.product or 'shared'} ({one.isolation}{'' if one.state == 'ready' else ', ' + one.state})"
    return (
        one.pid, name, _percent(one.cpu_percent), _percent(one.busy_percent) if one.state != "spare" else None,
        _percent(one.elu_percent), _size(one.rss_mb), _size(one.uss_mb), _size(one.heap_used_mb),
        one.active_jobs or None, one.done or None, one.command or "",
    )  # fmt: skip


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f} %"


def _size(mb: float | None) -> str | None:
    return None if mb is None else show_size(round(mb * MB))


def duration(found: dict[str, Any], name: str) -> str:
    """A percentile of what a daemon has measured; nothing where it has measured nothing."""
    value = found[name]
    if value is None:
        return ""
    return f"{value * 1e6:.0f} µs" if value < 1e-3 else show_seconds(value)
