"""SQL lives in ``sql/<driver>/*.sql``: named statements, each with a line that says what it is for.

-- name: claim_one
-- Take the job if it is still ready.
UPDATE …
"""

from __future__ import annotations

import itertools
import re
from importlib import resources

_HEAD = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load(driver: str) -> dict[str, str]:
    """All named statements of a driver. Raises ValueError for a name used twice."""
    found: dict[str, str] = {}
    folder = resources.files("stoker.store") / "sql" / driver
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".sql"):
            continue
        parts = _HEAD.split(file.read_text(encoding="utf-8"))
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"{file.name}: the statement {name} is there twice")
            found[name] = body.strip()
    return found


def purpose(script: str) -> str:
    """What a migration is for: the first sentence of its comment."""
    lines = itertools.takewhile(lambda line: line.startswith("--"), script.lstrip().splitlines())
    text = " ".join(line.removeprefix("--").strip() for line in lines)
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0]


def migrations(driver: str) -> list[tuple[int, str]]:
    """The numbered migrations of a driver, in order, without gaps."""
    folder = resources.files("stoker.store") / "sql" / driver / "migrations"
    found = sorted((int(file.name[:4]), file.read_text(encoding="utf-8")) for file in folder.iterdir())
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"{driver}: the migrations are not numbered 1, 2, 3 …")
    return found
