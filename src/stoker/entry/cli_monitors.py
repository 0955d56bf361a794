"""``stoker schedule monitors``, ``stoker schedule calendar`` and ``stoker heartbeat``: whether what should run did."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from stoker.entry import session, show
from stoker.entry.options import Json
from stoker.model.errors import SettingsError
from stoker.model.job import Submitted
from stoker.wire.monitors import CalendarRecord, MonitorRecord

COLOURS = {
    "ok": "green", "failed": "red", "failing": "red", "missed": "red", "late": "yellow", "too_long": "yellow",
    "skipped": "yellow", "paused": "yellow", "running": "cyan",
}  # fmt: skip


def monitors(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Only names that contain this.")] = "",
    json: Json = False,
) -> None:
    """Show whether the schedules are well; exit code 1 when one that is watched is not."""
    found = session.of(ctx).client.ask("monitors", list[MonitorRecord], contains=text)
    if json:
        show.data(found)
    else:
        rows = [
            (
                one.schedule, _word(one.health), show.local(one.since), "yes" if one.watched else "",
                show.local(one.next), one.job, show.line(one.why or "") if one.health != "ok" else "",
            )
            for one in found
        ]  # fmt: skip
        show.say(show.table(("schedule", "health", "since", "watched", "next", "job", ""), rows))
    if any(one.watched and one.health != "ok" for one in found):
        raise typer.Exit(1)


def calendar(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of this schedule only.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="A time like 2026-03-08 or 2026-03-08T02:30+00:00.")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="TIME", help="Until then.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many slots.")] = 1000,
    json: Json = False,
) -> None:
    """Show what became of each slot and which are to come; by default of yesterday, today and tomorrow at this time."""
    asked: dict[str, Any] = {"from": _moment("--from", since), "to": _moment("--to", to), "limit": limit}
    found = session.of(ctx).client.ask("calendar", list[CalendarRecord], schedule=name, **asked)
    if json:
        show.data(found)
        return
    rows = [
        (
            show.local(one.slot), f"{one.schedule}@{one.node}" if one.node else one.schedule, _word(one.mark),
            one.count if one.count > 1 else None, show.span(one.started, one.completed_at), one.job,
            show.line(one.error or ""),
        )
        for one in found
    ]  # fmt: skip
    show.say(show.table(("slot", "schedule", "", "slots", "took", "job", ""), rows, right=("slots",)))


def heartbeat(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="An entry with heartbeat, by its name.")],
    status: Annotated[str, typer.Option(metavar="STATUS", help="ok, or error when it failed.")] = "ok",
    message: Annotated[str, typer.Option(metavar="TEXT", help="What went wrong.")] = "",
    token: Annotated[
        bool, typer.Option("--token", help="Say nothing; print the token with which another machine says it.")
    ] = False,
    json: Json = False,
) -> None:
    """Say that something that Stoker does not run has run: `backup.sh && stoker heartbeat backup`."""
    if token:
        from stoker.web import tokens  # every other command starts faster without it

        made = tokens.signer(session.of(ctx).settings()).heartbeat(name)
        show.data({"token": made}) if json else show.say(made)
        return
    client = session.of(ctx).client
    found = client.ask("heartbeat", Submitted, name=name, status=status, message=message)
    show.data(found) if json else show.say(found.id)


def _moment(option: str, text: str | None) -> str | None:
    """With the zone of whoever types it, where he names none."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise SettingsError(f"{option}: {text[:60]!r} is no time like 2026-03-08 or 2026-03-08T02:30+00:00") from None


def _word(text: str) -> Text:
    return Text(text, COLOURS.get(text, "dim"))
