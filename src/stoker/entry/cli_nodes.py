"""``stoker nodes``: who works on the store, and who begins no new jobs."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.text import Text

from stoker.entry import session, show
from stoker.entry.options import Json
from stoker.entry.session import Session
from stoker.wire.records import NodeRecord

LOOK_EVERY = 0.2
STATES = {"alive": "green", "cordoned": "yellow", "silent": "red"}

app = typer.Typer(help="The daemons that share the store; none, one, or all of them may be here.")
Name = Annotated[str, typer.Argument(metavar="NODE", help="A node's name, as `stoker nodes` shows it.")]


@app.callback(invoke_without_command=True)
def nodes(ctx: typer.Context, json: Json = False) -> None:
    """Show the roster: every daemon on this store, its heartbeat, slots and labels."""
    if ctx.invoked_subcommand is None:
        found = roster(session.of(ctx))
        if json:
            show.data(found)
        else:
            show.say(table(found))


@app.command()
def cordon(ctx: typer.Context, node: Name, json: Json = False) -> None:
    """Let the nodes of this name begin no new jobs, also after a restart; what runs goes on."""
    _tell(_cordon(session.of(ctx), node, True), json)


@app.command()
def uncordon(ctx: typer.Context, node: Name, json: Json = False) -> None:
    """Let them work again."""
    _tell(_cordon(session.of(ctx), node, False), json)


@app.command()
def drain(ctx: typer.Context, node: Name, json: Json = False) -> None:
    """Cordon, and wait until nothing runs there any more."""
    line = session.of(ctx)
    found = _cordon(line, node, True)
    with show.waiting(f"waiting for {node}", quiet=json) as say:
        while running := sum(one.running for one in found if one.alive):
            say(f"{node}: {show.count(running, 'job')} running")
            time.sleep(LOOK_EVERY)
            found = [one for one in roster(line) if one.name == node]
    _tell(found, json)


def roster(line: Session) -> list[NodeRecord]:
    return list(line.client.ask("nodes", list[NodeRecord]))


def table(found: list[NodeRecord]) -> Any:
    rows = [
        (
            one.name, _state(one), f"{one.running} of {one.slots}", " ".join(one.labels), show.ago(one.heartbeat),
            show.ago(one.started), f"{one.host}:{one.pid}", one.version, one.boot,
        )
        for one in found
    ]  # fmt: skip
    return show.table(
        ("node", "state", "busy", "labels", "heartbeat", "up", "process", "version", "boot"), rows, right=("busy",)
    )


def _state(one: NodeRecord) -> Text:
    word = "silent" if not one.alive else "cordoned" if one.cordoned else "alive"
    return Text(word, STATES[word])


def _cordon(line: Session, node: str, cordoned: bool) -> list[NodeRecord]:
    return list(line.client.ask("cordon", list[NodeRecord], node=node, cordoned=cordoned))


def _tell(found: list[NodeRecord], json: bool) -> None:
    if json:
        show.data(found)
    else:
        show.say(table(found))
