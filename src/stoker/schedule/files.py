"""A project's schedule files: found by environment and role, read, and whatever is wrong with them said with its place.

    cron.json                   always
    cron.ENV.json               in that environment: on one node, or on every node where roles have files too
    cron.ENV.ROLE.json          the same, by whoever holds the role

The same names with ``.toml`` are read as well. What is wrong with any entry keeps the whole from being used, so that a
daemon goes on with what it had; :class:`Problem` says which is only to be looked at.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from stoker.model.schedule import Defaults, Entry, read
from stoker.model.schedule_keys import Kind
from stoker.schedule import secrets
from stoker.schedule.parsing import Unreadable, parse
from stoker.settings import Settings

FILE_MAX = 64 << 20
PROBLEMS_MAX = 50
"""Problems of one file that are told; who has more begins with these."""
_FILE = re.compile(r"cron(?:\.(?P<env>[\w-]{1,64}))?(?:\.(?P<role>[\w-]{1,64}))?\.(?P<kind>json|toml)\Z")
DORMANT = "DOA"
"""A folder of scripts that are kept and never scheduled."""
Marks = dict[str, tuple[int, int, int]]
"""Of each file: when it was written, its size, which it is."""


class Problem(msgspec.Struct, frozen=True):
    """Something about a file. ``fatal`` keeps the files from being used; ``wrong`` is worth an exit code."""

    where: str
    message: str
    wrong: bool = True
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class Book(msgspec.Struct):
    """What the files say. ``entries`` by name, in order."""

    entries: dict[str, Entry]
    problems: list[Problem]
    files: list[str]
    marks: Marks

    @property
    def fatal(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.fatal]


class _File(msgspec.Struct):
    """One file that is to be read."""

    path: Path
    shown: str
    env: str
    role: str
    toml: bool


def folder(settings: Settings) -> Path:
    return settings.root / settings.schedules.folder


def scripts(settings: Settings) -> Path:
    return settings.root / settings.schedules.crons


def load(settings: Settings, *, thorough: bool = False) -> Book:
    """Read the files of this project. ``thorough`` also looks for scripts that are not there and for credentials that
    are written out. Never raises for what stands in a file: that is a problem in the book."""
    book = Book({}, [], [], marks(settings))
    files = _chosen(settings, book.problems)
    shares = {file.env for file in files if file.role}
    for file in files:
        book.files.append(file.shown)
        text = _text(file, book.problems)
        if text is None:
            continue
        base = Defaults(
            tz=settings.schedules.timezone, shell=settings.schedules.shell,
            role=file.role, every_node=bool(file.env in shares and not file.role),
        )  # fmt: skip
        _read(file, text, base, book)
        if thorough:
            book.problems += [
                Problem(f"{file.shown}:{line}", f"{what}; keep it elsewhere and write ${{env:NAME}}", True, False)
                for line, what in secrets.literals(text)
            ]
    _check_roles(settings, book)
    if thorough:
        _check_scripts(settings, book)
    return book


def marks(settings: Settings) -> Marks:
    """What tells whether a file changed, came, or went."""
    found: Marks = {}
    for path in _candidates(settings):
        try:
            status = path.stat()
        except OSError:
            continue
        found[path.name] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def _candidates(settings: Settings) -> list[Path]:
    try:
        names = sorted(os.listdir(folder(settings)))
    except OSError:
        return []
    return [folder(settings) / name for name in names if _FILE.match(name)]


def _chosen(settings: Settings, problems: list[Problem]) -> list[_File]:
    """The files of this environment, base before roles."""
    env = settings.schedules.env
    found = []
    for path in _candidates(settings):
        match = _FILE.match(path.name)
        assert match is not None
        shown = os.path.join(settings.schedules.folder, path.name)
        found.append(_File(path, shown, match["env"] or "", match["role"] or "", match["kind"] == "toml"))
    known = sorted({file.env for file in found if file.env})
    if known and not env:
        wanted = "no environment is named: set `schedules.env` or the variable ENVIRONMENT"
        problems.append(Problem(settings.schedules.folder, f"{wanted}; there are {', '.join(known)}"))
    elif known and env not in known:
        problems.append(
            Problem(settings.schedules.folder, f"there is no cron.{env}.json; there are {', '.join(known)}")
        )  # fmt: skip
    return sorted((file for file in found if file.env in ("", env)), key=lambda file: (file.env, file.role, file.toml))


def _text(file: _File, problems: list[Problem]) -> str | None:
    try:
        # not to wait for whoever writes into a pipe
        with open(os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                problems.append(Problem(file.shown, "is not a file"))
                return None
            problems += _trust(file, status)
            data = opened.read(FILE_MAX + 1)
    except OSError as error:
        problems.append(Problem(file.shown, f"cannot be read: {error.strerror}"))
        return None
    if len(data) > FILE_MAX:
        problems.append(Problem(file.shown, f"has more than {FILE_MAX >> 20} MB"))
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(Problem(f"{file.shown}:{line}", "is not UTF-8 text"))
        return None


def _trust(file: _File, status: os.stat_result) -> Iterator[Problem]:
    """Who can write a schedule file can run what he likes: it must be as hard to write as the daemon itself."""
    if status.st_uid not in (0, os.geteuid()):
        yield Problem(file.shown, f"belongs to the user {status.st_uid}, neither to root nor to the daemon's; chown it")
    if status.st_mode & stat.S_IWOTH:
        yield Problem(file.shown, "may be written by everybody; chmod o-w")
    elif status.st_mode & stat.S_IWGRP:
        yield Problem(file.shown, "may be written by its group; chmod g-w unless that is meant", False, False)


def _read(file: _File, text: str, defaults: Defaults, book: Book) -> None:
    before = len(book.problems)
    try:
        for line, table in parse(text, file.toml):
            where = f"{file.shown}:{line}"
            try:
                entry = read(table, defaults, where)
                there = book.entries.setdefault(entry.name, entry)
                if there is not entry:
                    raise ValueError(f"the name is there twice; the first is at {there.where}")
            except ValueError as error:
                book.problems.append(Problem(where, f"{_named(table)}{error}"))
            if len(book.problems) - before >= PROBLEMS_MAX:
                return
    except Unreadable as error:
        place = "".join(f":{number}" for number in (error.line, error.column) if number is not None)
        book.problems.append(Problem(f"{file.shown}{place}", error.message))


def _named(table: object) -> str:
    name = table.get("name") if isinstance(table, Mapping) else None
    return f"{name[:60]!r}: " if isinstance(name, str) else ""


def _check_roles(settings: Settings, book: Book) -> None:
    names = settings.roles.names
    alone = settings.store_path is not None
    for entry in book.entries.values():
        if entry.role and entry.role not in names and (names or not alone):
            known = ", ".join(names) or "none are named"
            message = f"{entry.name!r}: nobody would hold the role {entry.role!r}; `roles.names`: {known}"
            book.problems.append(Problem(entry.where, message, True, False))


def _check_scripts(settings: Settings, book: Book) -> None:
    base = scripts(settings)
    for entry in book.entries.values():
        if entry.kind is not Kind.CRON:
            continue
        path = base / entry.what[0]
        if not path.is_file():
            book.problems.append(Problem(entry.where, f"{entry.name!r}: there is no {path}", entry.active, False))
        if entry.active and DORMANT in Path(entry.what[0]).parts:
            book.problems.append(
                Problem(entry.where, f"{entry.name!r}: what lies in {DORMANT} is kept, not run", True, False)
            )


def dormant(settings: Settings, book: Book) -> list[str]:
    """Scripts that no entry runs, relative to their folder."""
    base = scripts(settings)
    used = {os.path.normpath(entry.what[0]) for entry in book.entries.values() if entry.kind is Kind.CRON}
    found = []
    for place, folders, names in os.walk(base):
        folders[:] = sorted(one for one in folders if one != "__pycache__" and not one.startswith("."))
        for name in sorted(names):
            path = os.path.relpath(os.path.join(place, name), base)
            if not name.startswith((".", "_")) and path not in used:
                found.append(path)
    return found
