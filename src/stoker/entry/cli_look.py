"""Commands that look at the daemon: status, top, stats, commands, health, metrics."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from stoker.entry import cli_clients, cli_nodes, details, exits, figures, session, show
from stoker.entry.arguments import Shape
from stoker.entry.options import Json
from stoker.entry.session import Session
from stoker.model.errors import DaemonUnavailable
from stoker.model.quantities import show_seconds, show_size

if TYPE_CHECKING:
    from stoker.store.base import Counts


def status(
    ctx: typer.Context,
    everywhere: Annotated[bool, typer.Option("--all", help="The other nodes on this store, too.")] = False,
    json: Json = False,
) -> None:
    """Whether the daemon runs, how long, what it does, and who holds the slots."""
    line = session.of(ctx)
    try:
        stats = line.client.stats()
    except DaemonUnavailable as gone:
        _stopped(line, gone, json)
        raise
    nodes = cli_nodes.roster(line) if everywhere else None
    if json:
        show.data({"state": "running", **stats, **({} if nodes is None else {"nodes": nodes})})
        return
    for part in status_lines(stats):
        show.say(part)
    if stats["slots"]:
        show.say()
        show.say(details.slots(stats))
    if nodes is not None:
        show.say()
        show.say(cli_nodes.table(nodes))


def status_lines(stats: dict[str, Any]) -> list[Any]:
    """The figures of a running daemon, the three of the first rows first."""
    well = stats["health"]["ok"]
    ran = show.uptime(stats["uptime"])
    return [
        Text.assemble(("stoker RUNNING", "bold green"), f" pid {stats['pid']}, uptime {ran}"),
        show.pairs(
            [
                ("uptime", ran),
                ("active consumers", f"{stats['consumers']} of {stats['consumers_max']}"),
                ("queued jobs", str(stats["queued"])),
                ("scheduled jobs", str(stats["scheduled"])),
                ("running jobs", str(stats["running"])),
                (
                    "ended jobs",
                    f"{stats['completed']} completed, {stats['failed']} failed, {stats['cancelled']} cancelled",
                ),
                ("rate", f"{stats['rate']:g} a second, over the last minute"),
                ("paused", ", ".join(stats["paused"])),
                ("health", Text(show.clean(stats["health"]["message"]), "green" if well else "bold red")),
                ("clients", ", ".join(f"{number} {role}" for role, number in stats["clients"].items() if number)),
                ("streams", cli_clients.streams(stats["streams"])),
                ("node", f"{stats['node']}, version {stats['version']}"),
                ("store", stats["store"]),
                ("socket", stats["socket"]),
            ]
        ),
    ]


def _stopped(line: Session, gone: DaemonUnavailable, json: bool) -> None:
    """What can be told of a daemon that does not run: whether jobs wait for it."""
    counts = None if line.remote else _counts(line)
    if json:
        queued = None if counts is None else counts.ready + counts.held
        show.data({"state": "stopped", "queued": queued, "scheduled": None if counts is None else counts.scheduled})
        return
    show.say(Text("stoker STOPPED", "bold red"))
    if counts is not None and counts.new:
        show.say(f"{show.count(counts.new, 'job')} waiting; they run when a daemon starts")


def _counts(line: Session) -> Counts | None:
    """The figures of the store, read without a daemon; None when there is none that can be read."""
    from stoker.client import offline

    try:
        return offline.counts(line.settings())
    except Exception:  # a store of another version or program has no figures for us; `stoker check` says what it is
        return None


def top(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Show one frame and leave.")] = False,
    interval: Annotated[float, typer.Option("--interval", "-n", min=0.1, help="Seconds between frames.")] = 1.0,
) -> None:
    """Processes, slots, jobs and rates, live. Ctrl-C leaves."""
    from stoker.entry import top as watching

    client = session.of(ctx).client
    if once or not sys.stdout.isatty():
        watching.once(client)
    else:
        watching.run(client, interval)


def stats(ctx: typer.Context, json: Json = False) -> None:
    """Per command: how many jobs, how many fail, how long they wait and run. Counts are of the jobs that are kept, the
    percentiles of what this daemon has run since its start."""
    found = session.of(ctx).client.ask("command_stats", list[dict[str, Any]])
    if json:
        show.data(found)
        return
    rows = [
        (
            row["command"], row["total"], row["completed"], row["failed"], row["cancelled"], f"{row['failure_rate']} %",
            _seconds(row["seconds"]), _seconds(row["run_seconds"]), row["unwell"] or None,
            *(figures.duration(row[what], name) for what in ("waits", "runs") for name in ("p50", "p95", "p99")),
        )
        for row in found
    ]  # fmt: skip
    names = (
        "command", "ended", "completed", "failed", "cancelled", "failure rate", "average", "of it run", "not well",
        "wait p50", "p95", "p99", "run p50", "p95", "p99",
    )  # fmt: skip
    show.say(show.table(names, rows, right=names[1:]))


def _seconds(value: float | None) -> str:
    return "" if value is None else show_seconds(value)


def commands(ctx: typer.Context, json: Json = False) -> None:
    """What can be run, with its arguments and limits."""
    found = session.of(ctx).commands()
    if json:
        show.data(found)
        return
    rows = [
        (
            one["name"], Shape(one["schema"]).describe(), one["isolation"],
            None if one["timeout"] is None else show_seconds(one["timeout"]),
            None if one["memory"] is None else show_size(one["memory"]),
            one["retries"], show.line(one["doc"].partition("\n")[0], 80),
        )
        for one in found
    ]  # fmt: skip
    show.say(show.table(("command", "arguments", "isolation", "timeout", "memory", "retries", ""), rows))


def health(ctx: typer.Context, json: Json = False) -> None:
    """For probes: 0 when all is well, 1 when jobs wait and nobody works, a pool is broken, or the store is away; 3 when
    no daemon answers."""
    found = session.of(ctx).client.ask("health", dict[str, Any])
    if json:
        show.data(found)
    else:
        show.say(show.clean(found["message"]))
    if not found["ok"]:
        raise typer.Exit(exits.JOB_FAILED)


def metrics(ctx: typer.Context) -> None:
    """The figures as Prometheus reads them."""
    sys.stdout.write(session.of(ctx).client.ask("metrics", str))
