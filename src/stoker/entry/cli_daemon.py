"""Commands that rule the daemon: pause, resume, reload, restart, stop, migrate."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from stoker.entry import session, show
from stoker.entry.options import Json
from stoker.entry.session import Session
from stoker.model.errors import AlreadyRunning, DaemonSilent, DaemonUnavailable, SettingsError

if TYPE_CHECKING:
    import psutil

LOOK_EVERY = 0.05
RESTART_WITHIN = 120.0
"""Seconds for a restart: jobs may take their time to end, then everything is loaded anew."""
GONE_WITHIN = 10.0
"""Seconds for the processes to be gone after the daemon has said its farewell."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="A command, a product, or '*' for everything.")]


def pause(ctx: typer.Context, name: Name, json: Json = False) -> None:
    """Start nothing more of a command, a product, or everything; what runs goes on, what comes waits."""
    line = session.of(ctx)
    _paused(line.client.ask("pause", list[str], name=_meant(line, name)), json)


def resume(ctx: typer.Context, name: Name, json: Json = False) -> None:
    """Take a pause back."""
    line = session.of(ctx)
    _paused(line.client.ask("resume", list[str], name=_meant(line, name)), json)


def _meant(line: Session, name: str) -> str:
    """A command's bare name in full, where there is no product of that name."""
    known = [str(one["name"]) for one in line.commands()]
    same = [full for full in known if full.partition(".")[2] == name]
    products = {full.partition(".")[0] for full in known}
    return same[0] if len(same) == 1 and name not in products else name


def _paused(names: list[str], json: bool) -> None:
    if json:
        show.data({"paused": names})
    else:
        show.say(show.clean(f"paused: {', '.join(names)}" if names else "nothing is paused"))


def reload(ctx: typer.Context, json: Json = False) -> None:
    """Load the application anew; what runs ends under the old code. Broken code leaves the old in force."""
    found = session.of(ctx).client.ask("reload", dict[str, Any])
    if json:
        show.data(found)
    else:
        show.say(f"reloaded: {show.count(len(found['commands']), 'command')}")


def restart(ctx: typer.Context, json: Json = False) -> None:
    """Start every process of the running daemon anew, and wait until the new ones answer."""
    line = session.of(ctx)
    before = line.client.stats()
    with show.waiting(f"waiting for {show.count(before['running'], 'running job')} and the new processes", quiet=json):
        line.client.ask("restart")
        after = _new_boot(line, before["boot"])
    if json:
        show.data({"before": _pids(before), "after": _pids(after)})
    else:
        show.say(f"restarted: router {before['pid']} → {after['pid']}, zygote {before['zygote']} → {after['zygote']}")


def _new_boot(line: Session, boot: str) -> dict[str, Any]:
    """The figures of the daemon that came after ``boot``."""
    deadline = time.monotonic() + RESTART_WITHIN
    while time.monotonic() < deadline:
        with contextlib.suppress(DaemonSilent, DaemonUnavailable):
            found = line.client.stats()
            if found["boot"] != boot:
                return found
        time.sleep(LOOK_EVERY)
    raise DaemonSilent(f"the daemon did not come back within {RESTART_WITHIN:g} s; its log says why")


def _pids(stats: dict[str, Any]) -> dict[str, Any]:
    return {name: stats[name] for name in ("pid", "zygote", "boot")}


def stop(
    ctx: typer.Context,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Leave as soon as it was told.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Give running jobs back to the queue instead of waiting.")] = False,
    json: Json = False,
) -> None:
    """Stop the daemon when the running jobs have ended, and wait until it is gone. Nothing that waits is lost."""
    import psutil

    line = session.of(ctx)
    stats = line.client.stats()
    with (
        show.waiting(f"waiting for {show.count(stats['running'], 'running job')}", quiet=json),
        line.client.line() as talk,
    ):
        processes = _processes(stats["pid"])
        talk.ask("stop", {}, str)
        with contextlib.suppress(DaemonUnavailable):  # it may be gone by then
            if now:
                talk.ask("stop", {}, str)
        if not no_wait:
            with contextlib.suppress(DaemonUnavailable):
                while True:
                    talk.ask("ping", {}, str)
                    time.sleep(LOOK_EVERY)
            psutil.wait_procs(processes, GONE_WITHIN)
    if json:
        show.data({"stopped": not no_wait, "pid": stats["pid"]})
    else:
        show.say("stopping" if no_wait else "stopped")


def _processes(router: int) -> list[psutil.Process]:
    """The router and the process that stays above it, where they can be seen from here."""
    import psutil

    found = []
    with contextlib.suppress(psutil.Error):
        found.append(psutil.Process(router))
        above = found[0].parent()
        if above is not None and above.cmdline()[:1] and above.cmdline()[0].endswith("-up"):
            found.append(above)
    return found


def migrate(
    ctx: typer.Context,
    plan: Annotated[bool, typer.Option("--plan", help="Only tell what would be done.")] = False,
    json: Json = False,
) -> None:
    """Bring the store to this version. The daemon does so by itself when it starts; this is for doing it before."""
    from stoker.client import offline
    from stoker.store import address

    settings = session.of(ctx).settings()
    shown = settings.store_shown
    steps = offline.finish(address.plan(settings.store))
    if plan:
        if json:
            show.data({"store": shown, "steps": steps})
        else:
            show.say(show.clean("\n".join([*steps, f"{shown}: {show.count(len(steps), 'step')} to take"])))
        return
    try:
        with offline.held(settings.store_path):
            version = offline.finish(address.migrate(settings.store))
    except AlreadyRunning:
        raise AlreadyRunning(f"a daemon works on {shown}, so it has this daemon's version; nothing to do") from None
    if json:
        show.data({"store": shown, "version": version, "steps": steps})
    else:
        show.say(f"{shown} has version {version}")


def migrate_store(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FROM", help="The store to copy: a path, or an address.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Where to: a path, or postgresql://….")],
    json: Json = False,
) -> None:
    """Copy everything that one store keeps into another, such as from a file to PostgreSQL.

    Stop the daemon first. Jobs, their events and results, unique keys, pauses and cordons are copied, and schedules
    with how far they have come and what became of their slots; what is there already is left alone, so a copy that was
    cut off is finished by typing it again. The old store stays as it is.
    """
    from stoker.client import offline
    from stoker.entry import moving

    line = session.of(ctx)
    old, new = line.settings(store=source), line.settings(store=target)
    if old.store == new.store:
        raise SettingsError("the store to copy from and the one to copy to are the same")
    with offline.held(old.store_path), offline.held(new.store_path), show.progress("rows", quiet=json) as tell:
        done = offline.finish(moving.copy(old.store, new.store, tell))
    if json:
        show.data({"from": old.store_shown, "to": new.store_shown, **msgspec.to_builtins(done)})
        return
    known = f", {done.jobs - done.stored} of them were there" if done.stored < done.jobs else ""
    show.say(show.clean(f"{show.count(done.jobs, 'job')} from {old.store_shown} to {new.store_shown}{known}"))
    if done.schedules or done.slots:
        there = done.schedules + done.slots - done.fresh
        known = f", {there} of both were there" if there else ""
        show.say(f"{show.count(done.schedules, 'schedule')}, {show.count(done.slots, 'slot')}{known}")
