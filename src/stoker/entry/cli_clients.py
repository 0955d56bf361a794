"""``stoker clients`` and ``stoker notify``: who is connected, and a word to them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stoker.entry import session, show
from stoker.entry.options import Json
from stoker.model.audience import EVERYBODY, Level


def clients(ctx: typer.Context, json: Json = False) -> None:
    """Who is connected to this node: scripts, bridges, and the browser tabs of each user."""
    found = session.of(ctx).client.ask("clients", dict[str, Any])
    if json:
        show.data(found)
        return
    tree = found["tree"]
    sessions = sum(len(of_user) for of_user in tree.values())
    show.say(
        show.pairs(
            [
                ("scripts", str(found["script"])),
                ("bridges", str(found["web"])),
                ("streams", streams(found["streams"])),
                ("users", str(len(tree))),
                ("sessions", str(sessions)),
                ("tabs", str(found["tabs"])),
            ]
        )
    )
    if tree:
        show.say()
        show.say(show.table(("user", "session", "tabs", "instances"), _rows(tree), right=("tabs",)))


def streams(found: dict[str, int]) -> str:
    """Open ones, of how many; nothing where there is no bridge."""
    return f"{found['open']} of {found['max']}" if found["max"] else ""


def _rows(tree: dict[str, dict[str, list[str]]]) -> list[tuple[str, str, int, str]]:
    return [
        (user if number == 0 else "", name, len(tabs), " ".join(tabs))
        for user, sessions in tree.items()
        for number, (name, tabs) in enumerate(sessions.items())
    ]


def notify(
    ctx: typer.Context,
    message: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
    user: Annotated[str | None, typer.Option(metavar="USER", help="To the browser tabs of this user.")] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="To every browser tab.")] = False,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="A title above it.")] = None,
    level: Annotated[Level, typer.Option(help="How much it matters.")] = Level.INFO,
    json: Json = False,
) -> None:
    """Push a notification to a user's browser tabs, on every node."""
    if (user is None) != everybody:
        raise typer.BadParameter("say to whom: either --user USER or --everybody")
    done = session.of(ctx).client.notify_now(EVERYBODY if user is None else user, message, title=title, level=level)
    if json:
        show.data(done)
    else:
        show.say(f"pushed, to {show.count(done.tabs, 'tab')} on this node")
