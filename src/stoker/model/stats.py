"""What was measured: of a machine, of each process that runs jobs, of pools and commands.

The names in JSON are in camel case (`activeJobs`, `cpuPercent`, `heapUsedMB`, `eluPercent`). MB are 1,048,576 bytes;
percent of a processor: two busy threads of one process are 200. What is not known is null.
"""

from __future__ import annotations

import re

import msgspec

MB = 1 << 20
_STEP = re.compile(r"_([a-z])")


def _camel(name: str) -> str:
    """``heap_used_mb`` as ``heapUsedMB``."""
    words = _STEP.sub(lambda found: found[1].upper(), name)
    return f"{words[:-2]}MB" if words.endswith("Mb") else words


class Figures(msgspec.Struct, frozen=True, kw_only=True, rename=_camel):
    """A record of figures."""


class SystemInfo(Figures, frozen=True, kw_only=True):
    """The machine. ``cpu_percent`` is of all its processors together, ``uptime`` is seconds."""

    host: str
    cores: int
    cpu_percent: float
    memory_total_mb: float
    memory_used_mb: float
    memory_available_mb: float
    memory_percent: float
    load: tuple[float, float, float]
    uptime: float


class ProcessInfo(Figures, frozen=True, kw_only=True):
    """A process of the daemon that runs no jobs. ``uss_mb`` is what it has for itself alone."""

    role: str
    pid: int
    cpu_percent: float
    rss_mb: float
    uss_mb: float | None
    shared_mb: float | None
    cpu_seconds: float


class WorkerInfo(Figures, frozen=True, kw_only=True):
    """A process that runs jobs.

    ``uss_mb`` is what would be free if it ended, ``shared_mb`` the rest of its ``rss_mb``. ``heap_*`` is what Python
    and the C library have allocated, and what they hold for it. ``elu_percent`` is how much of the time its event loop
    (for one job at a time: its main thread) was not waiting. ``busy_percent`` is how much of its slots' time was jobs.
    ``job`` is the one it has had longest, ``heartbeat`` when it last said anything, ``done`` the jobs of its life."""

    pid: int
    product: str
    isolation: str
    state: str
    slots: int
    active_jobs: int
    done: int
    age: float
    cpu_percent: float
    busy_percent: float
    elu_percent: float | None
    rss_mb: float
    uss_mb: float | None
    shared_mb: float | None
    heap_used_mb: float | None
    heap_total_mb: float | None
    job: str | None
    command: str | None
    heartbeat: str | None
    cpu_seconds: float
    busy_seconds: float


class FleetWorker(WorkerInfo, frozen=True, kw_only=True):
    """A worker of any node. ``seen_ago`` is how many seconds ago its node looked at it."""

    node: str
    boot: str
    seen_ago: float


class PoolInfo(Figures, frozen=True, kw_only=True):
    """A pool, or the consumers of all products together (``product`` empty, ``isolation`` fork). ``done`` and
    ``failed`` are attempts of the period, ``rate`` is both in a second."""

    product: str
    isolation: str
    live: int
    slots: int
    active_jobs: int
    waiting: int
    done: int
    failed: int
    rate: float
    busy_percent: float
    cpu_percent: float
    rss_mb: float
    broken: str | None


class Durations(Figures, frozen=True, kw_only=True):
    """Seconds: how many, their mean, and what half, 95 % and 99 % of them did not exceed."""

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


class CommandInfo(Figures, frozen=True, kw_only=True):
    """Attempts of a command that ended in the period."""

    command: str
    done: int
    failed: int
    snoozed: int
    rate: float
    waits: Durations
    runs: Durations


class JobsInfo(Figures, frozen=True, kw_only=True):
    """Attempts of the period, and those that run now."""

    running: int
    done: int
    failed: int
    rate: float


class Sample(Figures, frozen=True, kw_only=True):
    """Everything, for one period of one node: the event ``sys-stats``."""

    at: str
    node: str
    boot: str
    seconds: float
    system: SystemInfo
    jobs: JobsInfo
    processes: list[ProcessInfo]
    workers: list[WorkerInfo]
    pools: list[PoolInfo]
    commands: list[CommandInfo]
