"""The same schedules as a crontab, for those who keep the system's cron."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator

import msgspec

from stoker.model.cron import NAMES
from stoker.model.schedule import Entry
from stoker.model.schedule_keys import Kind
from stoker.settings import Settings

HEAD = "# Made by `stoker schedule crontab` from the schedule files; edit those.\n"


def crontab(entries: Iterable[Entry], settings: Settings, role: str | None = None) -> str:
    """A crontab of the active entries: those without a role and those of ``role``, or all where ``role`` is None. The
    same entries always make the same text."""
    lines = list(_lines(entries, settings, role))
    return HEAD + "\n".join(lines) + ("\n" if lines else "")


def _lines(entries: Iterable[Entry], settings: Settings, role: str | None) -> Iterator[str]:
    zone = None
    for entry in entries:
        if role is not None and entry.role not in ("", role):
            continue
        if not entry.active:
            yield f"# off: {entry.name}"
            continue
        hindrance = _hindrance(entry)
        if hindrance:
            yield f"# not for cron, it has {hindrance}: {entry.name}"
            continue
        if entry.tz != zone:
            zone = entry.tz
            yield f"CRON_TZ={zone}"
        yield f"# {entry.name}"
        yield f"{_moment(entry)} {command_line(entry, settings)}".replace("%", "\\%")


def _hindrance(entry: Entry) -> str:
    """What a crontab cannot say."""
    if entry.kind is Kind.HEARTBEAT:
        return "nothing to run: it says itself that it ran"
    moment = "" if entry.at_start else _unknown_moment(_moment(entry).split())
    if moment:
        return moment
    if entry.environment or entry.headers:
        return "environment or headers, which may hold secrets"
    if "\n" in entry.shown:
        return "several lines"
    return ""


def _unknown_moment(parts: list[str]) -> str:
    if len(parts) != 5:
        return "seconds"
    if any(mark in part.upper() for mark in ("#", "L", "W") for part in (parts[2], _without_names(parts[4]))):
        return "a day that cron does not know"
    return ""


def _without_names(part: str) -> str:
    """A day of the week without the names that have the letters in question."""
    return part.upper().replace("WED", "")


def _moment(entry: Entry) -> str:
    return NAMES.get(entry.schedule.lower(), entry.schedule)


def command_line(entry: Entry, settings: Settings) -> str:
    """What a shell runs for an entry."""
    own = settings.schedules
    match entry.kind:
        case Kind.CRON:
            interpreter = own.interpreter or shlex.quote(sys.executable)
            words = [f"{(settings.root / own.crons).as_posix().rstrip('/')}/{entry.what[0]}", *entry.what[1:]]
            return f"{interpreter} {shlex.join(words)}"
        case Kind.COMMAND:
            return entry.shown
        case Kind.URL:
            address = entry.shown
            full = own.base_url.rstrip("/") + address if address.startswith("/") else address
            return f"wget -q -O /dev/null {shlex.quote(full)}"
    words = [sys.executable, "-m", "stoker", "--root", str(settings.root), "submit", entry.shown]
    return shlex.join([*words, "--input", msgspec.json.encode(entry.input).decode()])
