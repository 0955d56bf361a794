"""How things look: tables and colours for people, one JSON document for programs, and never a raw control byte."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

from stoker.model.quantities import show_seconds
from stoker.wire.records import moment

WIDE = 100_000
"""Columns when nobody looks: what is piped into a file or a filter is never cut."""
ID_WIDTH = 32
"""A job's id is shown whole, however narrow the terminal is: it is there to be copied."""
STYLES = {
    "new": "cyan",
    "running": "yellow",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
}

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BREAKS = re.compile(rf"[\t\n\u2028\u2029]|{_UNSAFE.pattern}")
_NAMES = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
Cell = str | Text | int | None


def console(*, err: bool = False) -> Console:
    """A console on the stream as it is now."""
    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else int(os.environ.get("COLUMNS") or WIDE)
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def clean(text: str) -> str:
    """Text from elsewhere, safe for a terminal: control characters, escape sequences and marks that turn the reading
    direction are shown as what they are (``\\x1b``); tabs and line ends are kept."""
    return _UNSAFE.sub(_visible, text.replace("\r\n", "\n"))


def cell(text: str) -> str:
    """The same for a cell of a table: tabs and line ends are shown as what they are (``\\n``), so a row is a line."""
    return _BREAKS.sub(_visible, text)


def line(text: str, most: int = 0) -> str:
    """The same on one line, cut after ``most`` characters."""
    flat = " ".join(clean(text).split())
    return flat if not most or len(flat) <= most else f"{flat[: most - 1]}…"


def _visible(match: re.Match[str]) -> str:
    number = ord(match[0])
    return _NAMES.get(number) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")


def say(text: RenderableType = "", *, err: bool = False) -> None:
    """A line or a table for people."""
    console(err=err).print(text, soft_wrap=isinstance(text, str | Text))


def data(value: Any) -> None:
    """One JSON document on standard output: laid out on a terminal, one line in a pipe."""
    document(msgspec.json.encode(value))


def document(raw: bytes | msgspec.Raw) -> None:
    """JSON that is ready, in the same way."""
    if not sys.stdout.isatty():
        print(bytes(raw).decode(), flush=True)
        return
    console().print(JSONHighlighter()(Text(layout(raw))), soft_wrap=True)


def layout(raw: bytes | msgspec.Raw) -> str:
    """JSON on several lines. Control characters that JSON leaves as they are (DEL, C1) are escaped as JSON would."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", msgspec.json.format(bytes(raw), indent=2).decode())


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, right: Sequence[str] = (), fold: bool = True
) -> Table:
    """A plain table. ``right`` names the columns of numbers. Where a terminal is too narrow the last column is folded,
    or cut without ``fold``. A column with nothing in it is left out."""
    texts = [[one if isinstance(one, Text) else Text(_cell(one)) for one in row] for row in rows]
    shown = [n for n, name in enumerate(columns) if not texts or any(row[n].plain for row in texts)]
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_header=any(columns))
    for number in shown:
        name, folded = columns[number], fold and number == shown[-1]
        made.add_column(
            name.upper(),
            justify="right" if name in right else "left",
            no_wrap=not folded,
            overflow="fold" if folded else "ellipsis",
            min_width=ID_WIDTH if name in ("id", "job") else None,
        )
    for row in texts:
        made.add_row(*(row[number] for number in shown))
    return made


def _cell(value: Cell) -> str:
    return "" if value is None else cell(str(value))


def pairs(rows: Iterable[tuple[str, Cell]]) -> Table:
    """Names and values, without a head; rows without a value are left out."""
    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        if value is not None and value != "":
            made.add_row(name, value if isinstance(value, Text) else Text(_cell(value)))
    return made


def state(word: str) -> Text:
    return Text(word, STYLES.get(word, ""))


def uptime(seconds: float) -> str:
    """``1:23:45``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def ago(at: str | None) -> str:
    """How long since, in one unit: ``5 s``, ``3 min``, ``2 h``, ``9 d``."""
    if at is None:
        return ""
    seconds = max(0.0, datetime.now(UTC).timestamp() - moment(at))
    for most, unit, size in ((60, "s", 1), (3600, "min", 60), (86400, "h", 3600)):
        if seconds < most:
            return f"{int(seconds / size)} {unit}"
    return f"{int(seconds / 86400)} d"


def local(at: str | None) -> str | None:
    """A moment in the time of this place."""
    if at is None:
        return None
    return datetime.fromtimestamp(moment(at)).astimezone().isoformat(" ", "milliseconds")


def span(begin: str | None, end: str | None) -> str:
    """From one moment to another, or until now."""
    if begin is None:
        return ""
    until = datetime.now(UTC).timestamp() if end is None else moment(end)
    return show_seconds(max(0.0, until - moment(begin)))


def count(number: int, noun: str) -> str:
    """``1 job``, ``2 jobs``, ``3 processes``."""
    return f"{number} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


def width(text: str) -> int:
    """Columns that text takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(mark) in "WF" else not unicodedata.combining(mark) for mark in text)


@contextlib.contextmanager
def waiting(text: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Say what is waited for, where somebody looks; gives a way to say it anew."""
    err = console(err=True)
    if quiet or not err.is_terminal:
        yield lambda _: None
        return
    from rich.status import Status  # few commands wait

    with Status(text, console=err) as status:
        yield status.update


@contextlib.contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar, where somebody looks; gives a way to say how far it is, of how much."""
    err = console(err=True)
    if quiet or not err.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
