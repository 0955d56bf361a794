"""``stoker check``: every setting explained, and everything looked at that a start would need, without starting."""

from __future__ import annotations

import contextlib
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from stoker import settings as settings_module
from stoker.client import offline
from stoker.entry import exits, probe, show
from stoker.entry.session import Session
from stoker.model import hook
from stoker.model.errors import AppError, DaemonError, StokerError
from stoker.model.quantities import show_seconds, show_size
from stoker.model.schedule_keys import Kind
from stoker.schedule import files
from stoker.settings import Setting, Settings
from stoker.store import address

IMPORT_WITHIN = 120.0
NPROC_SPARE = 1000
SIZES = frozenset({"memory", "max_input", "max_output"})
MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("wrong", "bold red")}


class Finding(msgspec.Struct):
    """One thing looked at. ``level`` is ok, note (it works; look at it) or wrong, with the exit code."""

    what: str
    level: str
    message: str
    code: int = 0


class Findings(msgspec.Struct):
    """Everything that was found."""

    settings: list[Setting]
    findings: list[Finding]
    commands: list[str]

    @property
    def code(self) -> int:
        """0, or the exit code of the first thing wrong."""
        return next((one.code for one in self.findings if one.level == "wrong"), exits.OK)


def run(line: Session, **flags: Any) -> Findings:
    """Look at everything, with the flags that ``up`` would be given. Raises SettingsError when the settings themselves
    cannot be read."""
    settings = line.settings(products=True, **flags)
    commands, application = _application(settings)
    return Findings(
        [*settings_module.listed(settings, _source(settings, {"root": line.root, "socket": line.socket, **flags}))],
        [
            application,
            *_products(settings, commands),
            *_roles(settings),
            *_schedules(settings, commands),
            _store(settings),
            _socket(line, settings),
            _processes(settings),
        ],
        commands,
    )


def tell(found: Findings) -> None:
    """The findings, for people."""
    show.say(table(found.settings))
    show.say()
    show.say(show.table(("", "", ""), [(one.what, Text(*MARKS[one.level]), one.message) for one in found.findings]))
    if found.commands:
        show.say(show.clean(f"commands: {', '.join(found.commands)}"))


def table(found: Sequence[Setting]) -> Table:
    """Settings, for people."""
    rows = [
        (one.name, _shown(one.name, one.value), one.source, "yes" if one.reload else "no", one.about) for one in found
    ]
    return show.table(("setting", "value", "from", "reload", "meaning"), rows)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if name in SIZES and value:
        return show_size(value)
    if isinstance(value, float) and value:  # every one of them is a time
        return show_seconds(value)
    return str(value)


def _source(settings: Settings, given: Mapping[str, Any]) -> Callable[[str], str]:
    """The same, and the flags of the command line."""
    origin = settings_module.origin(settings)
    return lambda name: "command line" if given.get(name) is not None else origin(name)


def _application(settings: Settings) -> tuple[list[str], Finding]:
    what = "application"
    if not settings.app:
        return [], Finding(what, "note", "none is set; name it to `stoker up`, or set `app` in stoker.toml")
    words = [sys.executable, "-P", "-m", "stoker.entry.probe", str(settings.root), *settings.app]
    try:
        done = subprocess.run(words, cwd=settings.root, capture_output=True, timeout=IMPORT_WITHIN, check=False)
        found = msgspec.json.decode(done.stdout, type=probe.Found)
    except subprocess.TimeoutExpired:
        return [], Finding(what, "wrong", f"its import takes longer than {show_seconds(IMPORT_WITHIN)}", exits.APP)
    except msgspec.DecodeError:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return [], Finding(what, "wrong", f"its import ended the process (status {done.returncode}): {said}", exits.APP)
    if found.error is not None:
        return [], Finding(what, "wrong", found.error, exits.APP)
    names = show.count(len(found.commands), "command")
    return found.commands, Finding(what, "ok", f"{names} in {show_seconds(found.seconds)}")


def _products(settings: Settings, commands: list[str]) -> Iterator[Finding]:
    """What the files say about products, if they say anything; that it makes sense was seen when they were read."""
    if not settings.products or not commands:
        return
    unknown = sorted(settings.products.keys() - {name.partition(".")[0] for name in commands})
    if unknown:
        yield Finding("products", "note", f"no application registers {', '.join(unknown)}")
    else:
        yield Finding("products", "ok", f"limits of {show.count(len(settings.products), 'product')}")


def _schedules(settings: Settings, commands: list[str]) -> Iterator[Finding]:
    """What the schedule files say, if there are any, and everything that is wrong with them."""
    what = "schedules"
    if not files.folder(settings).is_dir():
        return
    book = files.load(settings, thorough=True)
    for problem in book.problems:
        yield Finding(what, "wrong" if problem.wrong else "note", str(problem), exits.USAGE)
    for entry in book.entries.values():
        if entry.kind is Kind.JOB and commands and entry.shown not in commands:
            message = f"{entry.where}: {entry.name!r}: no application registers {entry.shown}"
            yield Finding(what, "wrong", message, exits.USAGE)
    off = sum(not entry.active for entry in book.entries.values())
    names = ", ".join(book.files) or f"no file in {settings.schedules.folder} is for this environment"
    entries = show.count(len(book.entries), "entry").replace("entrys", "entries")
    yield Finding(what, "ok" if book.entries else "note", f"{entries}{f', {off} off' if off else ''}: {names}")
    asleep = files.dormant(settings, book)
    if asleep:
        message = f"{show.count(len(asleep), 'script')} run by no entry; `stoker schedule list --dormant` shows them"
        yield Finding(what, "note", message)


def _roles(settings: Settings) -> Iterator[Finding]:
    """The roles, if there are any, and the programs that are their hooks."""
    table, what = settings.roles, "roles"
    try:
        hooks = hook.commands(hook.programs(table.on_acquired, table.on_lost, table.on_node_dead))
    except AppError as error:
        yield Finding(what, "wrong", error.message, exits.APP)
        return
    if table.names or hooks:
        yield Finding(what, "ok", f"{show.count(len(table.names), 'role')}, {table.policy}")


def _store(settings: Settings) -> Finding:
    what = "store"
    try:
        found = offline.finish(address.look(settings.store))
    except StokerError as error:
        return Finding(what, "wrong", error.message, exits.code(error))
    if found is None:
        return Finding(what, "ok", f"{settings.store_shown} is not there yet; it is made at the first use")
    if found.version > found.newest:
        return Finding(
            what, "wrong", f"{found.about}: made by a newer Stoker (version {found.version}); upgrade", exits.STORE
        )
    behind = found.version < found.newest
    old = f", brought to {found.newest} at the next start or by `stoker migrate`" if behind else ""
    return Finding(what, "ok", f"{found.about}, version {found.version}{old}")


def _socket(line: Session, settings: Settings) -> Finding:
    what = "socket"
    path = settings.socket_path
    with contextlib.suppress(OSError):
        if not line.remote and not stat.S_ISSOCK(path.lstat().st_mode):
            return Finding(what, "wrong", f"{path} is there and is not a socket", exits.USAGE)
    try:
        stats = line.client.ask("stats", dict[str, Any], timeout=5.0)
    except DaemonError as error:
        return Finding(what, "note", error.message)
    except StokerError as error:
        return Finding(what, "wrong", error.message, exits.code(error))
    ran = show.uptime(stats["uptime"])
    return Finding(what, "ok", f"a daemon answers: pid {stats['pid']}, version {stats['version']}, uptime {ran}")


def _processes(settings: Settings) -> Finding:
    what = "processes"
    wanted = NPROC_SPARE + settings.consumers_max
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return Finding(
            what, "ok", f"RLIMIT_NPROC is {_limit(soft)} and may be raised to {_limit(hard)}; {wanted} are enough"
        )
    return Finding(
        what, "note", f"RLIMIT_NPROC cannot be raised to {wanted}: its hard limit is {hard}; jobs may find no process"
    )


def _limit(value: int) -> str:
    return "without limit" if value == resource.RLIM_INFINITY else str(value)
