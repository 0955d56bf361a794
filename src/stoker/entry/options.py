"""Options that many commands have, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from stoker.entry import session
from stoker.model import quantities
from stoker.model.job import priority as read_priority


def _json(ctx: typer.Context, wanted: bool) -> bool:
    if wanted:
        session.of(ctx).json = True
    return wanted


Json = Annotated[bool, typer.Option("--json", callback=_json, help="One JSON document instead of a table.")]


def _reader(read: Callable[[Any], Any]) -> Callable[[str | None], Any]:
    """A callback for an option that says what is wrong with its value."""

    def callback(value: str | None) -> Any:
        if value is None:
            return None
        try:
            read(int(value) if value.lstrip("-").isdigit() else value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        return value

    return callback


def _duration(metavar: str, help: str) -> Any:
    return typer.Option(metavar=metavar, help=help, callback=_reader(quantities.seconds))


User = Annotated[str | None, typer.Option(metavar="USER", help="On whose behalf.")]
Rank = Annotated[
    str | None,
    typer.Option(
        metavar="N", help="-100 to 100, or critical, important, normal, optional.", callback=_reader(read_priority)
    ),
]
Delay = Annotated[str | None, _duration("TIME", "Not before so long (30s, 5m, 2h).")]
Expires = Annotated[str | None, _duration("TIME", "Fail if it has not started by then.")]
Timeout = Annotated[str | None, _duration("TIME", "Time limit of an attempt.")]
Memory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Memory limit (512MB, 1GB).", callback=_reader(quantities.size))
]
Retries = Annotated[int | None, typer.Option(metavar="N", min=0, help="Attempts after the first that failed.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A mark to find it by; several times.")]
Unique = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="At most one job with this key at a time; '' for: this command with this input."),
]
Key = Annotated[str | None, typer.Option(metavar="KEY", help="Concurrency key: one job under it runs at a time.")]
Input = Annotated[
    str | None, typer.Option("--input", metavar="JSON", help="The input as JSON, @file, or - for standard input.")
]
