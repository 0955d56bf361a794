"""A look at this machine and at processes, from outside: nothing of what is looked at is woken by it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable

import msgspec
import psutil

from stoker.model.stats import MB, SystemInfo

AT_LEAST = 0.5
"""Seconds over which a share of time is taken at least: less than that is noise, a tick of the kernel's is 0.01."""


class Seen(msgspec.Struct, frozen=True):
    """One process. ``cpu`` is seconds of its life, memory is bytes."""

    at: float
    cpu: float
    born: float
    rss: int
    uss: int | None


class Host(msgspec.Struct, frozen=True):
    """The machine. ``busy`` is seconds of all processors since its start."""

    at: float
    busy: float
    cores: int
    total: int
    used: int
    available: int
    percent: float
    load: tuple[float, float, float]
    uptime: float


class Looker:
    """Looks, one at a time, in whatever thread. Reading a large process's memory map takes milliseconds."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._before: dict[int, Seen] = {}

    def look(self, pids: Iterable[int]) -> tuple[Host, dict[int, Seen]]:
        """The machine, and those of the processes that are there."""
        found: dict[int, Seen] = {}
        for pid in pids:
            with contextlib.suppress(psutil.Error, OSError):
                found[pid] = self._one(pid)
        self._before = found
        self._processes = {pid: process for pid, process in self._processes.items() if pid in found}
        return look_at_host(), found

    def _one(self, pid: int) -> Seen:
        process = self._processes.get(pid)
        if process is None or not process.is_running():  # the number may be another's by now
            process = self._processes[pid] = psutil.Process(pid)
            self._before.pop(pid, None)
        with process.oneshot():
            times = process.cpu_times()
            cpu, rss, born = times.user + times.system, process.memory_info().rss, process.create_time()
        before = self._before.get(pid)
        same = before is not None and before.cpu == cpu and before.rss == rss
        # who has not run since the last look has not got other memory either
        uss = before.uss if before is not None and same else _unique(process)
        return Seen(time.monotonic(), cpu, time.monotonic() - (time.time() - born), rss, uss)


def _unique(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.Error, OSError, AttributeError, NotImplementedError):
        return int(process.memory_full_info().uss)
    return None


def look_at_host() -> Host:
    """The machine."""
    times, memory = psutil.cpu_times(), psutil.virtual_memory()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # a guest's time is counted in its host's user time, too
    everything = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return Host(
        time.monotonic(), everything - idle, psutil.cpu_count() or 1, memory.total, memory.used, memory.available,
        memory.percent, psutil.getloadavg(), time.time() - psutil.boot_time(),
    )  # fmt: skip


def system_info(host: Host, cpu_percent: float) -> SystemInfo:
    return SystemInfo(
        host=os.uname().nodename,
        cores=host.cores,
        cpu_percent=round(min(100.0, cpu_percent), 1),
        memory_total_mb=round(host.total / MB, 1),
        memory_used_mb=round(host.used / MB, 1),
        memory_available_mb=round(host.available / MB, 1),
        memory_percent=host.percent,
        load=host.load,
        uptime=round(host.uptime, 1),
    )


class Share:
    """The share of the time that something took: from the difference of two looks at a counter of its seconds."""

    __slots__ = ("_total", "at", "value")

    def __init__(self, at: float, total: float) -> None:
        self.at = at
        self._total = total
        self.value = 0.0

    def look(self, at: float, total: float) -> float:
        """In percent, since the look before; since an earlier one where that was just now."""
        if at - self.at >= AT_LEAST:
            self.value = max(0.0, 100 * (total - self._total) / (at - self.at))
            self.at, self._total = at, total
        return self.value
