"""The runs of a day: a row for each schedule, a point for each slot, coloured by the node that fired it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.dates as dates
import matplotlib.pyplot as plt

SHAPES = {"ok": "o", "running": "o", "late": "D", "failed": "X", "missed": "x", "skipped": "_"}


def draw(runs: list[dict[str, Any]], slots: list[dict[str, Any]], killed: float, output: Path) -> None:
    """``runs`` are those of the calendar, ``slots`` of the history, which says who fired them."""
    by = {(slot["schedule"], slot["slot"]): slot["decider"] for slot in slots}
    names = sorted({run["schedule"] for run in runs})
    nodes = sorted(set(by.values()))
    colours = {node: f"C{number}" for number, node in enumerate(nodes)}
    figure, axes = plt.subplots(figsize=(10, 0.4 * len(names) + 1.5))
    for run in runs:
        shape = SHAPES.get(run["mark"])
        if shape:
            node = by.get((run["schedule"], run["slot"]), "")
            at = datetime.fromisoformat(run["slot"])
            axes.plot(at, names.index(run["schedule"]), shape, color=colours.get(node, "grey"), markersize=4)
    for node in nodes:
        axes.plot([], [], "o", color=colours[node], label=node)
    axes.axvline(datetime.fromtimestamp(killed, UTC), color="black", linestyle=":", label="killed")
    axes.set_yticks(range(len(names)), names)
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S", tz=UTC))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=len(nodes) + 1, frameon=False)
    figure.tight_layout()
    figure.savefig(output)
    plt.close(figure)
