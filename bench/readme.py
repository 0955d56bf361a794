"""``python -m bench.readme RESULTS.json …``: what was measured, as the tables of README.md between its marks.

Later files win. What a figure is, and in which table it stands, is said in docs/bench.md; what was promised, by the
figure itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.__main__ import GROUPS
from stoker.bench import plan
from stoker.bench.result import Result, Target

ROOT = Path(__file__).parent.parent
MARKS = ("<!-- figures -->", "<!-- /figures -->")
NAME = re.compile(r"`(\w+)`")


def main() -> int:
    found = {one.name: one for path in sys.argv[1:] for one in _read(Path(path))}
    if not found:
        print("usage: python -m bench.readme RESULTS.json …", file=sys.stderr)
        return 2
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(MARKS[0])
    _, after = rest.split(MARKS[1])
    text = "\n".join([_machine(found), *_tables(found, plan.targets(GROUPS))])
    readme.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")
    return 0


def _read(path: Path) -> list[Result]:
    return msgspec.json.decode(path.read_bytes(), type=list[Result])


def _machine(found: dict[str, Result]) -> str:
    settings = next(one.settings for one in found.values() if "machine" in one.settings)
    about = ", ".join(str(settings[name]) for name in ("machine", "disk") if name in settings)
    return f"Measured on {datetime.now(UTC):%Y-%m-%d}: {about}, Python {settings['python']}.\n"


def _tables(found: dict[str, Result], targets: dict[str, Target]) -> Iterator[str]:
    for section in (ROOT / "docs" / "bench.md").read_text(encoding="utf-8").split("\n### ")[1:]:
        heading, *lines = section.splitlines()
        rows = [row for line in lines if line.startswith("| `") for row in _rows(line, found, targets)]
        if rows:
            yield f"**{heading.strip()}**\n"
            yield "| figure | | measured | beside it | ratio | promised | |"
            yield "|---|---|---|---|---|---|---|"
            yield from rows
            yield ""


def _rows(line: str, found: dict[str, Result], targets: dict[str, Target]) -> Iterator[str]:
    names, what, *_ = (cell.strip() for cell in line.strip("|").split(" | "))
    for name in NAME.findall(names):
        one, promised = found.get(name), targets.get(name, Target())
        if one is None:
            continue
        kept = {True: "kept", False: "**missed**", None: ""}[promised.met(one)]
        value = "not measured here" if one.value is None else f"{_short(one.value)} {one.unit}"
        yield f"| `{name}` | {what} | {value} | {_short(one.floor)} | {_short(one.ratio)} | {promised} | {kept} |"


def _short(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


if __name__ == "__main__":
    sys.exit(main())
