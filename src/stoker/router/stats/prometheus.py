"""Figures as Prometheus reads them: the text exposition format, version 0.0.4. Names and units are its conventions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from stoker.router.stats.histogram import Histogram

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Page:
    """A page under construction. A family without samples is left out."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, about: str, samples: Iterable[tuple[Mapping[str, object], float]]) -> None:
        """A gauge or a counter: what it counts, and its values by their labels."""
        lines = [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
        self._put(name, kind, about, lines)

    def histograms(self, name: str, about: str, samples: Iterable[tuple[Mapping[str, object], Histogram]]) -> None:
        """Histograms by their labels."""
        lines = []
        for labels, histogram in samples:
            count = 0
            for bound, count in histogram.cumulative():
                lines.append(f"{name}_bucket{_labels({**labels, 'le': _number(bound)})} {count}")
            lines += [f"{name}_sum{_labels(labels)} {_number(histogram.sum)}", f"{name}_count{_labels(labels)} {count}"]
        self._put(name, "histogram", about, lines)

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def _put(self, name: str, kind: str, about: str, lines: list[str]) -> None:
        if lines:
            self._lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *lines]


def _labels(labels: Mapping[str, object]) -> str:
    inside = ",".join(f'{name}="{str(value).translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf"
    return str(value) if isinstance(value, int) else f"{value:.9g}"
