"""``stoker audit``: who did what."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from stoker.entry import session, show
from stoker.entry.options import Json
from stoker.model import quantities
from stoker.model.errors import SettingsError
from stoker.wire.audit import AuditRecord

SECONDS = 19
"""Characters of a moment without what is smaller."""


def audit(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not before: 2h, or a moment like 2026-03-08T02:30.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="What this user did through the bridge.")] = None,
    method: Annotated[str | None, typer.Option(metavar="NAME", help="Calls of this method only.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 50,
    json: Json = False,
) -> None:
    """Show who cancelled, paused, moved, pushed or stopped what, newest first."""
    asked: dict[str, Any] = {"user": user, "name": method, "limit": limit}
    found = session.of(ctx).client.ask("audit", list[AuditRecord], since=_since(since), **asked)
    if json:
        show.data(found)
        return
    rows = [
        (
            (show.local(one.at) or "")[:SECONDS],
            _who(one),
            show.line(one.method),
            show.line(one.object, 60),
            _change(one),
        )
        for one in found
    ]
    show.say(show.table(("at", "who", "did", "what", ""), rows))


def _who(one: AuditRecord) -> str:
    if one.user is not None:
        return show.line(f"{one.user} ({one.level})")
    return one.role if one.uid is None else f"uid {one.uid}"


def _change(one: AuditRecord) -> str:
    change = " → ".join(text for text in (one.before, one.after) if text)
    return show.line("; ".join(text for text in (change, one.reason) if text))


def _since(text: str | None) -> str | None:
    """A moment, or how long ago."""
    if text is None:
        return None
    try:
        return datetime.fromtimestamp(time.time() - quantities.seconds(text), UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise SettingsError(f"--since: {text[:60]!r} is neither 2h nor a moment like 2026-03-08T02:30") from None
