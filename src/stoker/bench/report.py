"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from stoker.bench.result import Result, Target

UNTOLD = frozenset({"machine", "python", "disk", "rounds", "floor_rounds"})
"""Settings that are in the file and not in every row of the table."""


def table(results: Sequence[Result], targets: Mapping[str, Target]) -> Table:
    found = Table(
        title=caption(results), title_justify="left", title_style="", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in ("figure", "value", "unit", "floor", "ratio", "target", "settings"):
        justify: Any = "right" if name in ("value", "floor", "ratio") else "left"
        found.add_column(name, justify=justify, overflow="fold", no_wrap=name not in ("target", "settings"))
    for one in results:
        target = targets[one.name]
        met = target.met(one)
        style = "" if met is None else "green" if met else "red"
        mark = "" if met is None else " ✓" if met else " ✗"
        told = {name: value for name, value in one.settings.items() if name not in UNTOLD}
        found.add_row(
            one.name, number(one.value), one.unit, number(one.floor), Text(number(one.ratio), style=style),
            Text(f"{target}{mark}", style=style), Text(_settings(told), style="dim"),
        )  # fmt: skip
    return found


def caption(results: Sequence[Result]) -> str:
    """The machine, which is the same for all."""
    if not results:
        return ""
    settings = results[0].settings
    return f"{settings.get('machine', '')} · Python {settings.get('python', '')} · {settings.get('disk', '')}"


def number(value: float | None) -> str:
    """Three digits that count, and none that do not."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _settings(told: Mapping[str, Any]) -> str:
    return " · ".join(f"{name} {value}" for name, value in told.items())


def write(results: Sequence[Result], path: Path) -> None:
    """The list of results as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(list(results)), indent=2) + b"\n")
