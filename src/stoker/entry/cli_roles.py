"""``stoker roles``: who holds which duty, and how to have somebody else hold it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from stoker.entry import session, show
from stoker.entry.options import Json
from stoker.model.role import ANYONE
from stoker.wire.roles import RoleRecord, RolesRecord, TakerRecord

STATES = {"held": "green", "free": "yellow", "silent": "red"}

app = typer.Typer(help="Duties of which each is one node's: see `[roles]` in stoker.toml.")
Name = Annotated[str, typer.Argument(metavar="ROLE", help="A role's name, as `stoker roles` shows it.")]
Node = Annotated[str, typer.Argument(metavar="NODE", help="The name of the node that shall hold it.")]


@app.callback(invoke_without_command=True)
def roles(ctx: typer.Context, json: Json = False) -> None:
    """Show every role: who holds it, since when, and in which term; and every node that takes roles."""
    if ctx.invoked_subcommand is None:
        _tell(session.of(ctx).client.ask("roles", RolesRecord), json)


@app.command()
def move(ctx: typer.Context, role: Name, node: Node, json: Json = False) -> None:
    """Have another node hold a role, as soon as nothing of it runs where it is."""
    _tell(session.of(ctx).client.ask("role_move", RolesRecord, role=role, node=node), json)


@app.command()
def release(ctx: typer.Context, role: Name, json: Json = False) -> None:
    """Have any other node hold a role."""
    _tell(session.of(ctx).client.ask("role_move", RolesRecord, role=role, node=ANYONE), json)


def _tell(found: RolesRecord, json: bool) -> None:
    if json:
        show.data(found)
    elif not found.roles:
        show.say('no roles; name them in stoker.toml: [roles] names = ["billing", "mail"]')
    else:
        show.say(_roles(found.roles))
        show.say(_nodes(found.nodes))


def _roles(found: tuple[RoleRecord, ...]) -> Any:
    rows = [
        (one.name, Text(one.state, STATES[one.state]), one.node or "", str(one.term), _ago(one.since), _wanted(one))
        for one in found
    ]
    return show.table(("role", "state", "node", "term", "since", "wanted"), rows, right=("term",))


def _nodes(found: tuple[TakerRecord, ...]) -> Any:
    rows = [
        (one.name, _state(one), " ".join(one.roles), show.ago(one.heartbeat), f"{one.host}:{one.pid}", one.boot)
        for one in found
    ]
    return show.table(("node", "state", "roles", "heartbeat", "process", "boot"), rows)


def _state(one: TakerRecord) -> Text:
    if not one.alive:
        return Text("silent", "red")
    return Text("alive", "green") if one.seeks else Text("takes none", "yellow")


def _ago(since: str | None) -> str:
    return show.ago(since) if since else ""


def _wanted(one: RoleRecord) -> str:
    return {None: "", ANYONE: "elsewhere"}.get(one.wanted, f"on {one.wanted}")
