"""Options that many commands have, and how their values are read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from stoker.entry import session
from stoker.model import quantities
from stoker.model.job import State, read_state
from stoker.model.job import Unique as UniqueBy
from stoker.model.job import priority as read_priority


def _json(ctx: typer.Context, wanted: bool) -> bool:
    if wanted:
        session.of(ctx).json = True
    return wanted


Json = Annotated[bool, typer.Option("--json", callback=_json, help="One JSON document instead of a table.")]


def _number(text: str) -> int | str:
    """Digits as the number that they are."""
    return int(text) if text.lstrip("-").isdigit() else text


def _reader(read: Callable[[Any], Any]) -> Callable[[str | None], Any]:
    """A callback for an option that says what is wrong with its value."""

    def callback(value: str | None) -> Any:
        if value is None:
            return None
        try:
            read(_number(value))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        return value

    return callback


def _state(word: str | None) -> State | None:
    try:
        return None if word is None else read_state(word)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _duration(metavar: str, help: str) -> Any:
    return typer.Option(metavar=metavar, help=help, callback=_reader(quantities.seconds))


User = Annotated[str | None, typer.Option(metavar="USER", help="On whose behalf.")]
Rank = Annotated[
    str | None,
    typer.Option(
        metavar="N", help="-100 to 100, or critical, important, normal, optional.", callback=_reader(read_priority)
    ),
]
Status = Annotated[
    str | None,
    typer.Option(metavar="STATUS", help=f"Only jobs in this state: {', '.join(State)}.", callback=_state),
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

Asked = dict[str, Any]
"""The options of a submission, read: what :func:`stoker.model.packing.pack` takes."""


def _asked(
    user: User = None,
    priority: Rank = None,
    delay: Delay = None,
    expires: Expires = None,
    tag: Tags = None,
    unique: Unique = None,
    key: Key = None,
    timeout: Timeout = None,
    retries: Retries = None,
    memory: Memory = None,
) -> Asked:
    return {
        "user": user, "priority": None if priority is None else _number(priority), "delay": delay, "expires": expires,
        "tags": tag, "unique": None if unique is None else UniqueBy(key=unique or None), "key": key,
        "timeout": timeout, "retries": retries, "memory": memory,
    }  # fmt: skip


def submission(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command line command the options of a submission, in the place of its parameter ``asked``, which gets
    them read."""
    options = inspect.signature(_asked, eval_str=True).parameters
    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(command, eval_str=True).parameters.values():
        parameters += options.values() if one.name == "asked" else [one]

    @functools.wraps(command)
    def with_options(*args: Any, **given: Any) -> None:
        command(*args, asked=_asked(**{name: given.pop(name) for name in options}), **given)

    # what Typer makes the options of
    with_options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    )
    with_options.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_options
