"""``stoker schedule``: what runs at its time, why it does or does not, and the same as a crontab."""

from __future__ import annotations

import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.text import Text

from stoker.entry import session, show
from stoker.entry.options import Json
from stoker.entry.session import Session
from stoker.model.cron import REBOOT
from stoker.model.errors import DaemonUnavailable, RequestError, SettingsError
from stoker.model.job import Submitted
from stoker.model.schedule import Entry
from stoker.schedule import crontab as crontabs
from stoker.schedule import files
from stoker.settings import Settings
from stoker.wire.records import iso, moment
from stoker.wire.schedules import ScheduleRecord, SchedulesRecord, SlotRecord, schedule_record

FATES = {"fired": "green", "skipped": "yellow", "paused": "yellow", "missed": "red", "refused": "red"}

app = typer.Typer(help="What runs at its time: schedule files and `@product.cron`.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A schedule's name, as `stoker schedule list` shows it.")]
Role = Annotated[
    str | None, typer.Option(metavar="ROLE", help="Only what has no role, and what has this one; else everything.")
]


@app.command(name="list")
def list_(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Only names that contain this.")] = "",
    dormant: Annotated[bool, typer.Option("--dormant", help="Scripts that no entry runs.")] = False,
    json: Json = False,
) -> None:
    """Show the schedules: when each is due, and what became of its last slot. Without a daemon, those of the files."""
    line = session.of(ctx)
    if dormant:
        _tell_dormant(line.settings(), json)
        return
    found = _schedules(line, text)
    if json:
        show.data(found)
        return
    for problem in found.problems:
        show.say(show.clean(f"problem: {problem}"), err=True)
    none = f"no schedule's name contains {text!r}" if text else "no schedules; put cron.json into the folder schedules/"
    show.say(_table(found.schedules) if found.schedules else show.clean(none))
    if found.by == "crontab":
        show.say("the system's cron runs what is in files (schedules.by); `stoker schedule crontab` makes its table")


@app.command(name="next")
def next_(
    ctx: typer.Context,
    name: Name,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many.")] = 5,
    json: Json = False,
) -> None:
    """Show when a schedule is due next, in its own zone and in UTC."""
    line = session.of(ctx)
    entry = _record(line, name)
    try:
        coming = line.client.ask("schedule_next", list[str], name=entry.name, count=count)
    except DaemonUnavailable:
        coming = _coming(_entry(line.settings(), entry.name), count)
    if json:
        show.data(coming)
        return
    if entry.schedule.lower() == REBOOT:
        show.say("at each start of a daemon that ticks it")
        return
    zone = ZoneInfo(entry.tz)
    rows = [(datetime.fromtimestamp(moment(at), zone).isoformat(" ", "seconds"), at) for at in coming]
    show.say(show.table((entry.tz, "utc"), rows))


@app.command()
def why(ctx: typer.Context, name: Name, json: Json = False) -> None:
    """Explain why a schedule runs or does not."""
    found = session.of(ctx).client.ask("schedule_why", list[str], name=name)
    if json:
        show.data(found)
    for sentence in found if not json else ():
        show.say(show.clean(sentence))


@app.command()
def run(ctx: typer.Context, name: Name, json: Json = False) -> None:
    """Run a schedule now, beside its slots; shows the job."""
    found = session.of(ctx).client.ask("schedule_run", Submitted, name=name)
    if json:
        show.data(found)
    else:
        show.say(found.id if found.created else f"{found.id} runs already")


@app.command()
def pause(ctx: typer.Context, name: Name, json: Json = False) -> None:
    """Let the slots of a schedule pass without a job, on all nodes, until it is resumed."""
    _tell_one(session.of(ctx).client.ask("schedule_pause", ScheduleRecord, name=name), json)


@app.command()
def resume(ctx: typer.Context, name: Name, json: Json = False) -> None:
    """Fire a schedule again. What passed meanwhile is not caught up."""
    _tell_one(session.of(ctx).client.ask("schedule_resume", ScheduleRecord, name=name), json)


@app.command()
def history(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of this schedule only.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many slots.")] = 20,
    json: Json = False,
) -> None:
    """Show what became of slots and of their jobs, the newest first."""
    found = session.of(ctx).client.ask("schedule_slots", list[SlotRecord], name=name, limit=limit)
    if json:
        show.data(found)
    else:
        show.say(_slots(found))


@app.command()
def crontab(
    ctx: typer.Context,
    role: Role = None,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write it there instead of to standard output.")
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Have `crontab` install it, in the place of this user's crontab.")
    ] = False,
) -> None:
    """Make a crontab of the schedule files. Only where the daemon does not run them: `schedules.by = "crontab"`."""
    settings = session.of(ctx).settings()
    if settings.schedules.by != "crontab":
        raise SettingsError(
            "the daemon runs the schedule files, and nothing may run twice; set schedules.by to crontab and restart it"
        )
    text = crontabs.crontab(_book(settings).entries.values(), settings, role)
    if not (output or install):
        print(text, end="")
        return
    path = Path(output) if output else settings.folder / "crontab"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    if install:
        _install(path)


def _install(path: Path) -> None:
    try:
        done = subprocess.run(["crontab", str(path)], check=False)
    except OSError as error:
        raise RequestError(f"crontab cannot be run: {error.strerror}; is cron installed?") from None
    if done.returncode:
        raise RequestError(f"crontab refused {path} (exit code {done.returncode})")


def _schedules(line: Session, text: str = "") -> SchedulesRecord:
    """From the daemon, or from the files while there is none."""
    try:
        found: SchedulesRecord = line.client.ask("schedules", SchedulesRecord, contains=text)
        return found
    except DaemonUnavailable:
        settings = line.settings()
    book = files.load(settings)
    chosen = [entry for entry in book.entries.values() if text.lower() in entry.name.lower()]
    return SchedulesRecord(
        env=settings.schedules.env,
        by=settings.schedules.by,
        problems=[str(problem) for problem in book.problems],
        schedules=[schedule_record(entry, time.time()) for entry in chosen],
    )


def _record(line: Session, name: str) -> ScheduleRecord:
    found = _schedules(line, name).schedules
    exact = [one for one in found if one.name == name] or found
    if len(exact) != 1:
        known = f"; did you mean {' or '.join(one.name for one in exact[:3])}?" if exact else ""
        raise RequestError(f"there is no schedule {name!r}{known}")
    return exact[0]


def _book(settings: Settings) -> files.Book:
    book = files.load(settings)
    if book.fatal:
        raise SettingsError(f"{book.fatal[0]}; `stoker check` shows all")
    return book


def _entry(settings: Settings, name: str) -> Entry:
    return _book(settings).entries[name]


def _coming(entry: Entry, count: int) -> list[str]:
    found: list[str] = []
    at = entry.cron.next(time.time())
    while at is not None and len(found) < count:
        found.append(iso(at) or "")
        at = entry.cron.next(at)
    return found


def _tell_dormant(settings: Settings, json: bool) -> None:
    found = files.dormant(settings, _book(settings))
    if json:
        show.data(found)
        return
    for path in found:
        show.say(show.clean(path))


def _tell_one(found: ScheduleRecord, json: bool) -> None:
    if json:
        show.data(found)
    else:
        show.say(_table([found]))


def _table(found: list[ScheduleRecord]) -> Any:
    rows = [
        (
            one.name, one.schedule, one.tz, _state(one), one.role or ("every node" if one.every_node else ""),
            show.local(one.next), Text(one.fate or "", FATES.get(one.fate or "", "")), f"{one.kind} {one.what}",
        )
        for one in found
    ]  # fmt: skip
    return show.table(("name", "schedule", "zone", "", "role", "next", "last", "runs"), rows, fold=False)


def _state(one: ScheduleRecord) -> Text:
    if not one.active:
        return Text("off", "dim")
    return Text("paused", "yellow") if one.paused else Text("")


def _slots(found: list[SlotRecord]) -> Any:
    rows = [
        (
            show.local(one.slot), f"{one.schedule}@{one.node}" if one.node else one.schedule,
            Text(one.fate, FATES.get(one.fate, "")), one.count if one.count > 1 else None,
            show.state(one.status) if one.status else "", show.span(one.started, one.completed_at), one.job,
            show.line(one.error or one.reason or ""),
        )
        for one in found
    ]  # fmt: skip
    columns = ("slot", "schedule", "fate", "slots", "status", "took", "job", "")
    return show.table(columns, rows, right=("slots",))
