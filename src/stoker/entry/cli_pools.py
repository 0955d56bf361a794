"""``stoker pools``: every product's workers, and their limits changed while the daemon runs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from stoker.entry import figures, session, show
from stoker.entry.options import Json
from stoker.model import quantities
from stoker.model.errors import SettingsError
from stoker.model.stats import FleetWorker, WorkerInfo

app = typer.Typer(help="The workers that products have for themselves, and the products' shares of the other slots.")
Product = Annotated[str, typer.Argument(metavar="PRODUCT", help="A product's name, as `stoker pools` shows it.")]
All = Annotated[bool, typer.Option("--all", help="The workers of every node that shares the store.")]
Options = Annotated[list[str], typer.Argument(metavar="OPTION=VALUE", help="For example workers=3 max_workers=6.")]


@app.callback(invoke_without_command=True)
def pools(ctx: typer.Context, all: All = False, json: Json = False) -> None:
    """Show the pools: workers that live, jobs they have, limits, and what is wrong."""
    if ctx.invoked_subcommand is not None:
        return
    if all:
        fleet = session.of(ctx).client.ask("getWorkerPings", list[FleetWorker], all=True)
        show.data(fleet) if json else show.say(figures.fleet(fleet))
        return
    found = session.of(ctx).client.ask("pools", list[dict[str, Any]])
    if json:
        show.data(found)
        return
    show.say(table(found))
    workers = [msgspec.convert(one, WorkerInfo) for pool in found for one in pool["processes"] if "cpuPercent" in one]
    if workers:
        show.say()
        show.say(figures.processes([], workers))


@app.command(name="set")
def change(ctx: typer.Context, product: Product, options: Options, json: Json = False) -> None:
    """Change limits of a pool, until the daemon is started again."""
    found = session.of(ctx).client.ask("pool_set", dict[str, Any], product=product, options=_read(options))
    if json:
        show.data(found)
        return
    show.say(table([found]))
    show.say("in force until the next start; write it to stoker.toml or products.json to keep it")


def _read(words: list[str]) -> dict[str, Any]:
    """Words like ``workers=3`` as options. Raises :class:`SettingsError`."""
    found: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise SettingsError(f"{word!r} is not option=value, like workers=3")
        if name in found:
            raise SettingsError(f"{name} is there twice; which is meant?")
        found[name] = _value(text)
    return found


def _value(text: str) -> Any:
    """Numbers, yes and no are what they say; ``none`` takes a bound away; the rest is text, like ``500MB``."""
    words = {"true": True, "yes": True, "false": False, "no": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    return int(text) if text.lstrip("-").isdecimal() else text


def table(found: list[dict[str, Any]]) -> Any:
    rows = [
        (
            one["product"] or f"({one['isolation']}, shared)", _kind(one), _live(one), _bounds(one),
            f"{one['busy']} of {one['slots'] * max(1, one['live'])}" if one["live"] else "", one["waiting"] or None,
            one["consumers"] or None, _share(one), _worn(one), one["replaced"] or None, show.line(one["why"] or ""),
        )
        for one in found
    ]  # fmt: skip
    numbers = ("live", "busy", "waiting", "forked", "died")
    columns = ("product", "kind", "live", "workers", *numbers[1:4], "share", "replaced after", "died", "")
    return show.table(columns, rows, right=numbers)


def _kind(one: dict[str, Any]) -> str:
    return str(one["isolation"]) if max(one["workers"], one["max_workers"]) else "none of its own"


def _live(one: dict[str, Any]) -> Text:
    if not max(one["workers"], one["max_workers"]):
        return Text("")
    well = one["live"] >= one["workers"] and one["enabled"]
    return Text(str(one["live"]), "green" if well else "bold red" if one["broken"] else "yellow")


def _bounds(one: dict[str, Any]) -> str:
    most = max(one["workers"], one["max_workers"])
    return "" if not most else str(most) if most == one["workers"] else f"{one['workers']} to {most}"


def _share(one: dict[str, Any]) -> str:
    parts = [
        f"weight {one['weight']}" if one["weight"] != 1 else "",
        f"{one['reserved']} reserved" * bool(one["reserved"]),
    ]
    return ", ".join(filter(None, parts))


def _worn(one: dict[str, Any]) -> str:
    parts = [
        f"{one['recycle_jobs']} jobs" if one["recycle_jobs"] else "",
        quantities.show_seconds(one["recycle_age"]) if one["recycle_age"] else "",
        quantities.show_size(one["recycle_memory"]) if one["recycle_memory"] else "",
    ]
    return ", ".join(filter(None, parts))
