"""What the figures were measured on, without which they mean nothing."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

BLOCK = 4096


def facts(folder: Path) -> dict[str, Any]:
    """Machine, Python and disk; the disk is the one under ``folder``."""
    return {
        "machine": f"{_processor()} × {os.cpu_count()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "disk": f"{filesystem(folder)}, fdatasync {sync_time(folder) * 1e6:.0f} µs",
    }


def load() -> float:
    """The load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def sync_time(folder: Path, times: int = 100) -> float:
    """Seconds for writing one block and having it on disk: the median."""
    path = folder / "sync-time"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    seen = []
    try:
        for number in range(times):
            begun = time.perf_counter()
            os.pwrite(fd, bytes(BLOCK), number % 8 * BLOCK)
            os.fdatasync(fd)
            seen.append(time.perf_counter() - begun)
    finally:
        os.close(fd)
        path.unlink()
    return statistics.median(seen)


def filesystem(folder: Path) -> str:
    """The kind of file system that holds ``folder``: the mount point that is its longest prefix."""
    found = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind = line.split()[:3]
        if folder.resolve().is_relative_to(point):
            found = max(found, (point, kind), key=lambda one: len(one[0]))
    return found[1]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
