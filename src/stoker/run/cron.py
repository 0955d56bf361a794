"""What schedule files run, as commands: ``cron.script``, ``cron.argv`` and ``cron.url``.

The input of such a job says only which entry of which schedule it is. What is to be done comes from this node's own
files: the router puts the entry in when the job begins, in the place of whatever the store holds, so that nobody who
can write into the store can run a program.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from stoker.model.command import Command, CommandSpec, Isolation
from stoker.model.definition import define
from stoker.model.schedule import PRODUCT, Entry, Filled, Place
from stoker.run import references
from stoker.run.context import Context

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR")
"""Variables of the daemon that a program gets; everything else its entry says."""
SHELL = "/bin/sh"


class CronFailed(Exception):
    """The run of a schedule did not end well."""


def script(ctx: Context, schedule: str, slot: float | None = None, filled: Filled | None = None) -> Any:
    """Run a script of a schedule."""
    entry, place = _known(schedule, filled)
    path = os.path.normpath(os.path.join(place.crons, entry.what[0]))
    environment = {**_about(entry, slot), **references.resolve(entry.environment)}
    if place.interpreter:
        words = [*shlex.split(place.interpreter), path, *entry.what[1:]]
        return _run(words, {**os.environ, **environment}, place.root)
    return _run_python(path, list(entry.what[1:]), environment, ctx)


def argv(ctx: Context, schedule: str, slot: float | None = None, filled: Filled | None = None) -> Any:
    """Run a program of a schedule."""
    entry, place = _known(schedule, filled)
    if os.geteuid() == 0 and not (entry.as_root or place.as_root):
        raise CronFailed('the daemon runs as root; say "as_root": true in the entry if this program is meant to')
    words = [SHELL, "-c", entry.what] if isinstance(entry.what, str) else list(entry.what)
    kept = {name: os.environ[name] for name in PASSED if name in os.environ}
    environment = {"PATH": PATH, "LANG": "C.UTF-8", **kept, "SHELL": SHELL, **_about(entry, slot)}
    return _run(words, {**environment, **references.resolve(entry.environment)}, place.root)


def url(ctx: Context, schedule: str, slot: float | None = None, filled: Filled | None = None) -> Any:
    """Fetch an address of a schedule."""
    from urllib.parse import urlsplit

    from stoker.wire import outbound  # what it loads would make every fork slower

    entry, place = _known(schedule, filled)
    address, allowed = entry.shown, place.hosts
    if address.startswith("/"):
        address = place.base_url.rstrip("/") + address
        allowed = (*allowed, urlsplit(place.base_url).hostname or "")
    try:
        answer = outbound.get(
            address, headers=references.resolve(entry.headers), allowed=allowed,
            timeout=min(entry.timeout or outbound.TIMEOUT, outbound.TIMEOUT),
        )  # fmt: skip
    except outbound.Outside as error:
        raise CronFailed(str(error)) from None
    if not 200 <= answer.status < 300:
        hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
        raise CronFailed(f"the answer has status {answer.status}{hint}")
    return {"status": answer.status, "bytes": len(answer.body)}


def commands(node: str, roles: Iterable[str]) -> dict[str, Command[Any, Any]]:
    """The commands under all their names: plain, of this node, and of each role, as
    :func:`stoker.model.schedule.command_of` calls them."""
    found: dict[str, Command[Any, Any]] = {}
    ends = [("", ""), (f"@{node}", ""), *((f"/{role}", role) for role in roles)]
    for handler in (script, argv, url):
        spec, signature, rules = define(PRODUCT, handler, isolation=Isolation.FORK, callers=(), wait=False)
        for end, role in ends:
            own: CommandSpec = msgspec.structs.replace(spec, name=f"{spec.name}{end}", role=role)
            found[own.name] = Command(handler, own, signature, rules)
    return found


def _known(schedule: str, filled: Filled | None) -> tuple[Entry, Place]:
    if filled is None:
        raise CronFailed(f"the schedule files of this node have no entry {schedule!r}; did it change, or is it older?")
    return filled.entry, filled.place


def _about(entry: Entry, slot: float | None) -> dict[str, str]:
    """What a program may want to know."""
    found = {"STOKER_SCHEDULE": entry.name, "TZ": entry.tz}
    return found if slot is None else {**found, "STOKER_SLOT": f"{slot:.0f}"}


def _run(words: list[str], environment: dict[str, str], folder: str) -> dict[str, int]:
    from stoker.run import script as programs

    programs.run(words, None, env=environment, cwd=folder)
    return {"exit": 0}


def _run_python(path: str, words: list[str], environment: dict[str, str], ctx: Context) -> Any:
    """A script in this process, as ``python path`` would run it."""
    import runpy
    import time

    if not Path(path).is_file():
        raise CronFailed(f"there is no {path}")
    os.environ.update(environment)
    time.tzset()
    sys.argv[:] = [path, *words]
    sys.path.insert(0, os.path.dirname(path))
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as error:
        if error.code not in (None, 0):
            raise CronFailed(f"the script ended with exit code {error.code}") from None
    return {"exit": 0}
