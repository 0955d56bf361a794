"""``stoker settings``: what a running daemon works by, and some of it changed while it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.entry import check, session, show
from stoker.entry.options import Json
from stoker.model.errors import SettingsError
from stoker.settings import Setting

app = typer.Typer(help="The settings that are in force in the running daemon.")
Values = Annotated[list[str], typer.Argument(metavar="NAME=VALUE", help="For example consumers_max=4 kill_grace=10s.")]


@app.callback(invoke_without_command=True)
def settings(ctx: typer.Context, json: Json = False) -> None:
    """Show every setting of the running daemon: its value, where it was set, and what it means."""
    if ctx.invoked_subcommand is None:
        _tell(session.of(ctx).client.ask("settings", list[Setting]), json)


@app.command(name="set")
def change(ctx: typer.Context, values: Values, json: Json = False) -> None:
    """Change settings, and reload, until the daemon is started again."""
    found = session.of(ctx).client.ask("settings_set", list[Setting], values=_read(values))
    _tell(found, json)
    if not json:
        show.say("in force until the next start; write it to stoker.toml to keep it")


def _tell(found: list[Setting], json: bool) -> None:
    if json:
        show.data(found)
    else:
        show.say(check.table(found))


def _read(words: list[str]) -> dict[str, str]:
    """Words like ``lease=1m`` by their names. Raises :class:`SettingsError`."""
    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise SettingsError(f"{word!r} is not name=value, like consumers_max=4")
        found[name.strip().replace("-", "_")] = value
    return found
