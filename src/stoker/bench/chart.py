"""The chart of jobs a second by system: an SVG that fits a light and a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from stoker.bench import report
from stoker.bench.result import Result

PREFIX = "warm_vs_"
OURS = "Stoker"
NAMES = {
    "huey": "Huey", "dramatiq": "Dramatiq", "taskiq": "Taskiq", "saq": "SAQ", "celery": "Celery", "rq": "RQ",
    "pgqueuer": "PgQueuer",
}  # fmt: skip
SUBTITLE = "Stored first, then drained; each peer at its best setting, all in the same run"
WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 760, 110, 90, 64, 34, 20
STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.quiet { font-size: 12px; fill: #59636e }
.ours { font-weight: 600 }
rect { fill: #8c959f }
rect.ours { fill: #bc4c00 }
line { stroke: #d1d9e0 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .quiet { fill: #9198a1 }
  rect { fill: #656c76 }
  rect.ours { fill: #f0883e }
  line { stroke: #3d444d }
}
"""

Bars = Sequence[tuple[str, float]]


def bars(results: Sequence[Result]) -> Bars:
    """Systems and their jobs a second, the fastest first; empty where no peer was measured."""
    found = [one for one in results if one.name.startswith(PREFIX) and one.value is not None and one.floor is not None]
    if not found:
        return []
    peers = [(one.name.removeprefix(PREFIX), one.floor or 0.0) for one in found]
    rows = [(OURS, found[0].value or 0.0), *((NAMES.get(name, name), rate) for name, rate in peers)]
    return sorted(rows, key=lambda row: -row[1])


def draw(rows: Bars, caption: str) -> str:
    """The chart, with one line of small print below."""
    height = TOP + ROW * len(rows) + 34
    most = max(rate for _, rate in rows)
    scale = (WIDTH - LEFT - RIGHT) / most
    told = ", ".join(f"{name} {report.number(rate)}" for name, rate in rows)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            ' role="img" aria-labelledby="title told">',
            '<title id="title">No-op jobs a second</title>',
            f'<desc id="told">{escape(told)}</desc>',
            f"<style>{STYLE}</style>",
            '<text class="title" x="16" y="28">No-op jobs a second, workers that stay</text>',
            f'<text class="quiet" x="16" y="47">{SUBTITLE}</text>',
            *(_row(name, rate, TOP + ROW * place, rate * scale) for place, (name, rate) in enumerate(rows)),
            f'<line x1="{LEFT}" y1="{TOP - 4}" x2="{LEFT}" y2="{TOP + ROW * len(rows)}"/>',
            f'<text class="quiet" x="16" y="{height - 12}">{escape(caption)}</text>',
            "</svg>\n",
        ]
    )


def _row(name: str, rate: float, top: int, length: float) -> str:
    mark = ' class="ours"' if name == OURS else ""
    middle = top + BAR - 5
    return (
        f'<text{mark} x="{LEFT - 10}" y="{middle}" text-anchor="end">{escape(name)}</text>'
        f'<rect{mark} x="{LEFT}" y="{top}" width="{max(1.0, length):.1f}" height="{BAR}" rx="2"/>'
        f'<text{mark} x="{LEFT + max(1.0, length) + 8:.1f}" y="{middle}">{report.number(rate)}</text>'
    )


def write(rows: Bars, results: Sequence[Result], path: Path) -> None:
    """Draw it into a file, whose folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draw(rows, report.caption(results)), encoding="utf-8")
