"""How long things took: counts in buckets that grow by a quarter of an octave, from ten microseconds to three hours.

Adding to one is a search and two additions, its size never grows, and two of them can be subtracted: what happened
between two looks is a difference. A percentile read from it is right to within a tenth.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

FLOOR = 1e-5
"""Seconds that the first bucket reaches up to."""
STEPS = 4
"""Buckets in which durations double."""
OCTAVES = 30
LAST = OCTAVES * STEPS + 1
"""The bucket of everything that took longer."""
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

BOUNDS = tuple(float(FLOOR * 2 ** (bucket / STEPS)) for bucket in range(LAST))
"""The longest duration that belongs to each bucket but the last, in seconds."""


class Histogram:
    """Durations in seconds. ``sum`` is exact."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (LAST + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one; what is less than nothing (a clock was set back) counts as nothing."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        if seconds > 0:
            self.sum += seconds

    @property
    def count(self) -> int:
        return sum(self.counts)

    def copy(self) -> Histogram:
        found = Histogram()
        found.counts, found.sum = list(self.counts), self.sum
        return found

    def since(self, earlier: Histogram | None) -> Histogram:
        """What came to it after it was ``earlier``; all, for None."""
        if earlier is None:
            return self.copy()
        found = Histogram()
        found.counts = [now - then for now, then in zip(self.counts, earlier.counts, strict=True)]
        found.sum = max(0.0, self.sum - earlier.sum)
        return found

    def percentile(self, share: float) -> float | None:
        """The duration that such a share (0 to 1) of all did not exceed; None when there are none. Of those beyond the
        last bucket only its beginning is known."""
        total = self.count
        if not total:
            return None
        rank, below = max(1, math.ceil(share * total)), 0
        for bucket, count in enumerate(self.counts):
            if below + count >= rank:
                return _within(bucket, (rank - below - 0.5) / count)
            below += count
        return BOUNDS[-1]

    def summary(self) -> dict[str, Any]:
        """For people and programs: ``count``, ``mean``, ``p50``, ``p95``, ``p99``, in seconds."""
        count = self.count
        found = {"mean": self.sum / count if count else None}
        found |= {name: self.percentile(share) for name, share in SHARES.items()}
        return {"count": count, **{name: value and float(f"{value:.4g}") for name, value in found.items()}}

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Bounds and how many did not exceed them, an octave apart, the last one without end: as Prometheus wants."""
        below = 0
        for bucket, count in enumerate(self.counts):
            below += count
            if bucket < LAST and bucket % STEPS == 0:
                yield BOUNDS[bucket], below
        yield math.inf, below

    def packed(self) -> dict[str, Any]:
        """As it is stored: the buckets that are not empty."""
        return {"sum": round(self.sum, 6), "counts": {str(at): count for at, count in enumerate(self.counts) if count}}

    @classmethod
    def unpacked(cls, stored: Mapping[str, Any]) -> Histogram:
        """One that was packed. Raises ValueError for anything else."""
        found = cls()
        found.sum = float(stored["sum"])
        for at, count in stored["counts"].items():
            found.counts[min(max(0, int(at)), LAST)] += int(count)
        return found


def _within(bucket: int, part: float) -> float:
    """A place within a bucket, as logarithms go."""
    if bucket == 0:
        return FLOOR * part
    if bucket >= LAST:
        return BOUNDS[-1]
    return float(BOUNDS[bucket - 1] * 2 ** (part / STEPS))
