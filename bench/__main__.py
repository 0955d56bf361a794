"""``python -m bench [--only PREFIX] [--quick]``: measure, print the table, write ``bench/latest.json``."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import machine, plan, report
from bench.result import Result
from bench.run import QUICK, Effort, Run

LATEST = Path(__file__).parent / "latest.json"
BUSY = 1.0
"""Load average from which on the machine has other things to do."""
FAILED = "the bench failed:"
NO_DISK = ("tmpfs", "ramfs")


def main() -> int:
    options = arguments()
    console = Console()
    try:
        groups = list(plan.chosen(options.only))
    except ValueError as error:
        console.print(f"bench: {error}", style="red")
        return 2
    signal.signal(signal.SIGTERM, leave)
    load = machine.load()
    if load > BUSY:
        console.print(
            f"The load average is {load:g}: others use this machine, so the figures mean little.", style="yellow"
        )
    results = measure(groups, QUICK if options.quick else Effort(), console)
    report.write(results, options.output)
    console.print(report.table(results, plan.TARGETS))
    if options.quick:
        console.print("Measured quickly: whether the bench works, not how fast anything is.", style="yellow")
    return int(any(str(one.settings.get("missing", "")).startswith(FAILED) for one in results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure beside the raw floor.")
    parser.add_argument("--only", metavar="PREFIX", default="", help="only the figures whose names begin so")
    parser.add_argument("--quick", action="store_true", help="few repetitions, to see whether the bench works")
    parser.add_argument("--output", metavar="FILE", type=Path, default=LATEST, help="where the JSON goes")
    return parser.parse_args()


def measure(groups: list[tuple[plan.Group, list[str]]], effort: Effort, console: Console) -> list[Result]:
    """Each group in a folder of its own; the bar moves only between measurements, to take nothing from them."""
    results: list[Result] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="sb-", dir=disk()) as base,
        Progress(*columns, console=console, auto_refresh=False) as progress,
    ):
        facts = machine.facts(Path(base))
        for number, (group, names) in enumerate(groups):
            folder = Path(base) / str(number)
            folder.mkdir()
            task = progress.add_task(" ".join(names), total=None)

            def moved(done: int, total: int, task: object = task) -> None:
                progress.update(task, completed=done, total=total, refresh=True)  # type: ignore[arg-type]

            run = Run(folder, effort, facts, moved)  # a new one for each group: it notes the load before it
            try:
                results += [one for one in group.measure(run) if one.name in names]
            except Exception as error:
                console.print_exception()
                results += [run.missing(name, "", f"{FAILED} {error}") for name in names]
    return results


def disk() -> str:
    """A folder for temporary files that is on a disk: figures about durability mean nothing in memory."""
    usual = tempfile.gettempdir()
    return "/var/tmp" if machine.filesystem(Path(usual)) in NO_DISK else usual


def leave(*_: object) -> NoReturn:
    """Asked to end: by an exception, so that every process started here is ended."""
    sys.exit(143)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
