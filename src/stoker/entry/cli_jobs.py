"""Commands about jobs: submit, call, jobs, job, logs, cancel, retry."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import typer

from stoker.client import core
from stoker.client.sync import JobHandle
from stoker.entry import arguments, details, exits, options, session, show
from stoker.entry.options import Json
from stoker.entry.session import Session
from stoker.model import packing
from stoker.model.errors import DaemonUnavailable, StokerError
from stoker.model.request import Request
from stoker.wire.records import JobRecord

Command = Annotated[
    str,
    typer.Argument(
        metavar="COMMAND",
        help="product.name, or the name alone if one product has it.",
        autocompletion=session.complete_command,
    ),
]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="ARG", help="name=value, or values in the order of the fields. After -- anything goes."),
]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Job ids.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="A job's id.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the result; no progress and no output of the job.")]


@options.submission
def submit(
    ctx: typer.Context,
    command: Command,
    words: Words = None,
    input: options.Input = None,
    *,
    asked: options.Asked,
    json: Json = False,
) -> None:
    """Store a job and print its id. It is on disk when this returns, also while no daemon runs."""
    line = session.of(ctx)
    _submitted(line, _request(line, command, words, input, asked), json)


@options.submission
def call(
    ctx: typer.Context,
    command: Command,
    words: Words = None,
    input: options.Input = None,
    *,
    asked: options.Asked,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and leave, as submit does.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Run a command and print its result as JSON.

    On a terminal the job's progress and output are shown while it runs; elsewhere only the result goes to standard
    output, and what the job says to standard error. Ctrl-C cancels the job.
    """
    line = session.of(ctx)
    if not no_wait and _asked_itself(line, command, words, input):
        return
    request = _request(line, command, words, input, asked, offline=no_wait)
    if no_wait or not _waits(line, request.command):
        _submitted(line, request, json)
        return
    from stoker.entry import live

    record = live.call(line, request, quiet=quiet or json)
    show.document(core.result(record))


def jobs(
    ctx: typer.Context,
    status: options.Status = None,
    command: Annotated[
        str | None, typer.Option(help="Only jobs of this command.", autocompletion=session.complete_command)
    ] = None,
    product: Annotated[str | None, typer.Option(help="Only jobs of this product.")] = None,
    user: Annotated[str | None, typer.Option(help="Only jobs of this user.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this tag.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")] = 10,
    before: Annotated[
        str | None, typer.Option(metavar="ID", help="Only jobs older than this one: the next page.")
    ] = None,
    json: Json = False,
) -> None:
    """The newest jobs first."""
    line = session.of(ctx)
    wanted = {"status": status, "product": product, "user": user, "tag": tag, "before": before, "limit": limit}
    if command is not None:
        names = [str(one["name"]) for one in line.commands()] if "." not in command else [command]
        wanted["command"] = session.full_name(command, names)
    found = line.client.jobs(**{name: value for name, value in wanted.items() if value is not None})
    if json:
        show.data(found)
        return
    show.say(details.listing(found))
    if len(found) == limit and sys.stdout.isatty():
        show.say(f"older ones: stoker jobs --before {found[-1].id}", err=True)


def job(ctx: typer.Context, id: Id, json: Json = False) -> None:
    """Everything about a job: why it waits, what it was given, how each attempt ended, what it returned."""
    line = session.of(ctx)
    handle = line.client.job(id)
    record = handle.record()
    ended = [event for event in details.events(line.client, handle.id) if event.kind == "attempt"]
    if json:
        show.data(details.whole(record, ended))
    else:
        details.tell(record, ended)


def logs(
    ctx: typer.Context,
    id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Pass on control characters and colours as the job wrote them.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: every event of the job.", callback=options._json)
    ] = False,
) -> None:
    """What a job said: its log lines, its output, its streamed pieces."""
    client = session.of(ctx).client
    handle = client.job(id)
    found = handle.events() if follow else details.events(client, handle.id)
    teller = details.Teller(raw=raw)
    for event in found:
        if json:
            print(msgspec.json.encode(event).decode(), flush=True)
        else:
            teller.tell(event)
    teller.finish()


def cancel(
    ctx: typer.Context,
    ids: Ids,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Kept with the job.")] = "cancelled at the command line",
    json: Json = False,
) -> None:
    """End jobs: waiting ones at once, running ones by an exception, then by force."""

    def one(record: JobRecord) -> str:
        if record.status == "running":
            return "is running; it was told to stop"
        return "cancelled" if record.status == "cancelled" else f"had already {record.status}"

    client = session.of(ctx).client
    _each(ids, lambda id: client.job(id).cancel(reason), one, json)


def retry(ctx: typer.Context, ids: Ids, json: Json = False) -> None:
    """Run ended jobs again, with their attempts counted from the start."""
    client = session.of(ctx).client
    _each(ids, lambda id: client.job(id).retry(), lambda record: f"is {record.status} again", json)


def _each(ids: list[str], act: Callable[[str], JobRecord], words: Callable[[JobRecord], str], json: bool) -> None:
    """The same for many jobs; what fails for one is said and does not keep the others from it."""
    done: list[JobRecord] = []
    failed: StokerError | None = None
    for id in ids:
        try:
            record = act(id)
        except DaemonUnavailable:
            raise
        except StokerError as error:
            failed = failed or error
            if len(ids) > 1:
                show.say(f"stoker: {show.clean(error.message)}", err=True)
            continue
        done.append(record)
        if not json:
            show.say(f"{record.id} {words(record)}")
    if json:
        show.data(done)
    if failed is not None:
        if len(ids) == 1:
            raise failed
        raise typer.Exit(exits.code(failed))


def _request(line: Session, command: str, words: list[str] | None, input: str | None, asked: options.Asked, *,
             offline: bool = True) -> Request:  # fmt: skip
    """The request that a command line means, its input read and checked by the command's schema."""
    base = arguments.given(input)
    try:
        known = {str(one["name"]): one for one in line.commands()}
    except DaemonUnavailable as gone:
        if not offline or line.remote:
            raise
        name = session.need_full_name(command, gone)
        value = arguments.read_unchecked(name, words or (), base)
    else:
        name = session.full_name(command, known)
        value = arguments.read(name, words or (), base, known[name]["schema"])
    return packing.pack(name, (value,), {}, asked)


def _submitted(line: Session, request: Request, json: bool) -> None:
    handle: JobHandle[Any] = line.client.submit_request(request.command, request)
    if json:
        show.data({"id": handle.id, "created": handle.created})
        return
    print(handle.id, flush=True)  # before what goes to standard error
    if not handle.created:
        show.say("that job was there already", err=True)
    elif not line.client.try_connect():
        show.say("no daemon runs; the job is stored and runs when one starts", err=True)


def _waits(line: Session, name: str) -> bool:
    return next((bool(one["wait"]) for one in line.commands() if one["name"] == name), True)


def _asked_itself(line: Session, name: str, words: list[str] | None, input: str | None) -> bool:
    """A method of the daemon is called by its name like any command; whether it was one."""
    if "." in name or name not in line.client.ask("methods", dict[str, list[str]])["script"]:
        return False
    if any(str(one["name"]).partition(".")[2] == name for one in line.commands()):
        return False
    given = arguments.read_unchecked(name, words or (), arguments.given(input))
    show.data(line.client.ask(name, **given))
    return True
