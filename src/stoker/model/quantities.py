"""Quantities as people write them: ``"1GB"``, ``"5m"``, ``"10/m"``."""

from __future__ import annotations

import math
import re

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*\Z", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w|)\s*\Z")
_RATE = re.compile(r"\s*(\d+)\s*/\s*(\d*)\s*([smhd])\s*\Z")


def size(value: float | str) -> int:
    """Bytes: ``"1GB"`` is 1024**3, as ``ulimit`` and Docker count. Raises ValueError."""
    if not isinstance(value, str):
        if isinstance(value, bool) or not 1 <= value < math.inf:
            raise ValueError(f"a size is 1 byte or more, not {value}")
        return int(value)
    match = _SIZE.match(value)
    found = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if not found:
        raise ValueError(f"{value!r} is not a size; write for example 512MB or 1GB")
    return found


def seconds(value: float | str) -> float:
    """Seconds from a number or ``"90s"``, ``"5m"``, ``"2h"``, ``"7d"``. Raises ValueError."""
    if not isinstance(value, str):
        if isinstance(value, bool) or not 0 <= value < math.inf:
            raise ValueError(f"a duration is a number of seconds, 0 or more, not {value}")
        return float(value)
    match = _DURATION.match(value)
    if not match:
        raise ValueError(f"{value!r} is not a duration; write for example 30, 90s, 5m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def rate(value: str) -> float:
    """Seconds between two starts from ``"10/m"`` or ``"1/5s"``. Raises ValueError."""
    match = _RATE.match(value)
    if not match or int(match[1]) == 0:
        raise ValueError(f"{value!r} is not a rate; write for example 10/s, 100/m or 1/5s")
    return int(match[2] or 1) * _SECONDS[match[3]] / int(match[1])


def show_size(count: float) -> str:
    """``1073741824`` → ``1.0 GB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"


def show_seconds(value: float) -> str:
    """``0.0042`` → ``4 ms``; ``75`` → ``1m 15s``."""
    if value < 0.0995:
        return f"{value * 1000:.1f} ms" if value < 0.00995 else f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"
