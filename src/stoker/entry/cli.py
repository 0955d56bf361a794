"""The command line: ``stoker``.

Here the commands are gathered and errors become one line and an exit code (:mod:`stoker.entry.exits`); what each
command does is in the modules beside this one.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Annotated, Any

import msgspec
import typer

from stoker._version import __version__
from stoker.entry import (
    cli_audit,
    cli_bench,
    cli_clients,
    cli_daemon,
    cli_jobs,
    cli_look,
    cli_monitors,
    cli_nodes,
    cli_pools,
    cli_roles,
    cli_schedule,
    cli_settings,
    cli_start,
    cli_token,
    exits,
    session,
    show,
)
from stoker.entry.session import Session
from stoker.model.errors import StokerError

app = typer.Typer(
    name="stoker",
    help="Background work for Python applications: one package, one daemon, nothing to install beside it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"stoker {__version__}")
        raise typer.Exit


@app.callback()
def stoker(
    ctx: typer.Context,
    root: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="The project's folder; else the nearest one with stoker.toml or .stoker."),
    ] = None,
    socket: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The daemon's socket, a path or tcp://host:port; else the project's."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    line = session.of(ctx)
    line.root, line.socket = root, socket


START, JOBS, LOOK, RULE = "Start", "Jobs", "Look", "Rule the daemon"

for _panel, _functions in (
    (START, (cli_start.up, cli_start.worker, cli_start.demo, cli_start.check)),
    (JOBS, (cli_jobs.submit, cli_jobs.call, cli_jobs.jobs, cli_jobs.job, cli_jobs.logs, cli_jobs.cancel,
            cli_jobs.retry)),
    (LOOK, (cli_look.status, cli_look.top, cli_look.stats, cli_look.commands, cli_look.health, cli_look.metrics,
            cli_clients.clients, cli_audit.audit)),
    (RULE, (cli_daemon.pause, cli_daemon.resume, cli_daemon.reload, cli_daemon.restart, cli_daemon.stop,
            cli_daemon.migrate, cli_daemon.migrate_store, cli_bench.bench, cli_clients.notify, cli_token.token,
            cli_monitors.heartbeat)),
):  # fmt: skip
    for _function in _functions:
        app.command(rich_help_panel=_panel)(_function)
app.add_typer(cli_nodes.app, name="nodes", rich_help_panel=LOOK)
app.add_typer(cli_roles.app, name="roles", rich_help_panel=LOOK)
cli_schedule.app.command()(cli_monitors.monitors)
cli_schedule.app.command()(cli_monitors.calendar)
app.add_typer(cli_schedule.app, name="schedule", rich_help_panel=LOOK)
app.add_typer(cli_pools.app, name="pools", rich_help_panel=LOOK)
app.add_typer(cli_settings.app, name="settings", rich_help_panel=LOOK)
if importlib.util.find_spec("stoker.entry.install") is not None:
    app.command(name="install", rich_help_panel=RULE)(importlib.import_module("stoker.entry.install").install)


def main() -> None:
    """The console entry point. A mistake of the user's is one line on standard error and a code, never a traceback."""
    line = Session()
    try:
        app(obj=line, prog_name="stoker")
    except StokerError as error:
        _complain(error, line.json)
        sys.exit(exits.code(error))
    except BrokenPipeError:
        _hush()
        sys.exit(exits.PIPE)
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _hush()


def _complain(error: StokerError, json: bool) -> None:
    if json:
        told: dict[str, Any] = {"error": error.code, "message": error.message}
        print(msgspec.json.encode(told).decode(), file=sys.stderr)
    else:
        print(f"stoker: {show.clean(error.message)}", file=sys.stderr)


def _hush() -> None:
    """Whoever read us has gone: what is left to say goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
