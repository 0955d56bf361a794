"""One run: the groups of figures one after the other, with a bar that shows where it is."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stoker.bench import machine
from stoker.bench.plan import Group
from stoker.bench.result import FAILED, Missing, Result, last_line
from stoker.bench.run import Effort, Run

NO_DISK = ("tmpfs", "ramfs")
BUSY = 1.0
"""Load average from which on the machine has other things to do."""


def measure(chosen: Sequence[tuple[Group, list[str]]], effort: Effort, console: Console) -> list[Result]:
    """Each group in a folder of its own; the bar moves only between measurements, to take nothing from them. SIGTERM
    ends it by an exception, so that every process started here is ended."""
    signal.signal(signal.SIGTERM, _leave)
    if machine.load() > BUSY:
        told = f"The load average is {machine.load():g}: others use this machine, so the figures mean little."
        console.print(told, style="yellow")
    results: list[Result] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="sb-", dir=disk()) as base,
        Progress(*columns, console=console, auto_refresh=False) as progress,
    ):
        facts = machine.facts(Path(base))
        for number, (group, names) in enumerate(chosen):
            folder = Path(base) / str(number)
            folder.mkdir()
            task = progress.add_task(_title(names), total=None)
            progress.refresh()

            def moved(done: int, total: int, task: object = task) -> None:
                progress.update(task, completed=done, total=total, refresh=True)  # type: ignore[arg-type]

            run = Run(folder, effort, facts, moved)  # a new one for each group: it notes the load before it
            try:
                results += [one for one in group.measure(run) if one.name in names]
            except Missing as missing:
                results += [run.missing(name, "", str(missing)) for name in names]
            except Exception as error:
                console.print_exception()
                results += [run.missing(name, "", f"{FAILED} {last_line(error)}") for name in names]
            finally:
                progress.stop_task(task)
    return results


def broken(results: Sequence[Result]) -> bool:
    """Whether a figure is missing because the bench itself failed."""
    return any(str(one.settings.get("missing", "")).startswith(FAILED) for one in results)


def disk() -> str:
    """A folder for temporary files that is on a disk: figures about durability mean nothing in memory."""
    usual = tempfile.gettempdir()
    return "/var/tmp" if os.path.isdir("/var/tmp") and machine.filesystem(Path(usual)) in NO_DISK else usual


def _title(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _leave(*_: object) -> NoReturn:
    sys.exit(143)
