"""Commands that start something: up, worker, demo, check.

Here and in the modules beside it, what only one command needs is imported by that command: every other one starts
faster without it.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import msgspec
import typer

from stoker import settings as settings_module
from stoker.entry import session, show
from stoker.entry.options import Json
from stoker.model.errors import AppError
from stoker.schedule import files
from stoker.settings import WEB_LISTEN, Settings, with_values

App = Annotated[list[str] | None, typer.Argument(metavar="APP", help="What to run: module or module:attribute.")]
Modules = Annotated[
    list[str] | None,
    typer.Option("--import-modules", metavar="MODULES", help="The same as APP; with commas, or several times."),
]
LogLevel = Annotated[str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")]
LogFormat = Annotated[str | None, typer.Option(metavar="FORMAT", help="text or json.")]
LogFile = Annotated[str | None, typer.Option(metavar="FILE", help="Write the log here, too.")]
Store = Annotated[
    str | None,
    typer.Option(metavar="STORE", help="Where jobs are kept: a path, or postgresql://…; .stoker/stoker.db by default."),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="LABEL", help="What commands that ask for it find on this node; several times."),
]
Node = Annotated[str | None, typer.Option(metavar="NAME", help="This daemon's name in logs and lists.")]
Socket = Annotated[
    str | None, typer.Option(metavar="PATH", help="Where clients connect; .stoker/stoker.sock by default.")
]
Grace = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="How long a stop waits for running jobs (30s, 5m); no limit by default."),
]
Root = Annotated[str | None, typer.Option(metavar="FOLDER", help="The project's folder.")]


def up(
    ctx: typer.Context,
    app: App = None,
    modules: Modules = None,
    store: Store = None,
    socket: Socket = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Listen on tcp://host:port, too (needs STOKER_TOKEN); several times."),
    ] = None,
    consumers_max: Annotated[
        int | None, typer.Option(metavar="N", help="Most processes that run jobs at one time; 10 by default.")
    ] = None,
    max_tasks: Annotated[
        int | None, typer.Option(metavar="N", help="Run jobs in one process, so many at a time, instead of one each.")
    ] = None,
    spares: Annotated[int | None, typer.Option(metavar="N", help="Consumers kept forked ahead; 2 by default.")] = None,
    grace: Grace = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    log_file: LogFile = None,
    node: Node = None,
    label: Labels = None,
    web: Annotated[
        bool, typer.Option("--web", help="Serve browsers, too: on `web.listen`, or else http://127.0.0.1:8765.")
    ] = False,
    root: Root = None,
) -> None:
    """Start the daemon, in the foreground.

    TERM or Ctrl-C stops it when the running jobs have ended; the signal again stops it at once. HUP loads the
    application anew, USR2 starts every process anew.
    """
    settings = session.of(ctx).settings(
        products=True, app=_targets(app, modules), store=store, socket=socket, listen=listen or None,
        consumers_max=consumers_max, max_tasks=max_tasks, spares=spares, grace=grace, log_level=log_level,
        log_format=log_format, log_file=log_file, node=node, labels=label or None, root=root,
    )  # fmt: skip
    if web and not settings.web.listen:
        settings = with_values(settings, {"web.listen": (WEB_LISTEN,)})
    become_daemon(settings)


def worker(
    ctx: typer.Context,
    modules: Modules = None,
    max_tasks: Annotated[int | None, typer.Option(metavar="N", help="Jobs at one time; 5 by default.")] = None,
    store: Store = None,
    socket: Socket = None,
    grace: Grace = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    log_file: LogFile = None,
    root: Root = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="What it calls itself when it starts.")] = "stoker-worker",
) -> None:
    """Start the daemon as one worker with several tasks, for jobs that mostly wait.

    With ENABLE_WORKER=false in the environment it only says so and idles, so that a supervisor leaves it alone.
    DEBUG=true shows debug lines.
    """
    from stoker.entry import worker as working

    line = session.of(ctx)
    if not working.enabled(os.environ):
        sys.exit(working.idle())
    settings = line.settings(
        products=True, app=_targets(None, modules or _listed("SURREAL_COMMANDS_MODULES")), max_tasks=max_tasks,
        store=store, socket=socket, grace=grace, log_level=log_level, log_format=log_format,
        log_file=log_file, root=root,
    )  # fmt: skip
    if settings.max_tasks == 0:
        settings = msgspec.structs.replace(settings, max_tasks=working.TASKS)
    working.await_store(settings)
    print(f"Starting {name}...", flush=True)
    become_daemon(settings)


def check(ctx: typer.Context, app: App = None, store: Store = None, root: Root = None, json: Json = False) -> None:
    """Explain every setting, and tell what is wrong before anything is started.

    The application is imported in a process of its own, the store is only looked at. The exit code is that of the
    first thing found wrong.
    """
    from stoker.entry import check as checking

    findings = checking.run(session.of(ctx), app=_targets(app, None), store=store, root=root)
    if json:
        show.data(findings)
    else:
        checking.tell(findings)
    raise typer.Exit(findings.code)


def demo(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End when everything is done.")] = False,
) -> None:
    """Watch the example application read real documents and answer a question."""
    from stoker.entry import demo as showing

    raise typer.Exit(showing.run(session.of(ctx), once=once))


def _targets(app: list[str] | None, modules: list[str] | None) -> list[str] | None:
    found = [*(app or ()), *(name for word in modules or () for name in word.replace(",", " ").split())]
    return found or None


def _listed(variable: str) -> list[str] | None:
    """A variable of the 003 library: a list with commas."""
    return [os.environ[variable]] if os.environ.get(variable) else None


def become_daemon(settings: Settings) -> None:
    """Replace this program by the one that stays, which holds none of what a command line needs. The process id stays.

    Raises :class:`AppError` when there is nothing to run.
    """
    if not settings.app and not files.folder(settings).is_dir():
        raise AppError("no application given: `stoker up package.module:product`, or set `app` in stoker.toml")
    # flags become variables, so that a reload finds them again
    os.environ.update(settings_module.as_environ(settings, settings_module.load({"root": settings.root})))
    os.environ["STOKER_RESOLVED"] = msgspec.json.encode(settings, enc_hook=str).decode()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "stoker.entry.up"])
