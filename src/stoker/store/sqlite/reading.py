"""Reading jobs and figures. Each call is one short statement, so that no reader ever pins the write-ahead log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from stoker.model.errors import UnknownJob
from stoker.model.event import Event
from stoker.model.job import Job, State
from stoker.store.base import CommandStats, Counts, Cursor, Filter, News
from stoker.store.sqlite import rows
from stoker.store.sqlite.connection import SQL, Connection, Value

PAGE_MAX = 1000


def get(db: Connection, id: str) -> Job:
    row = db.one("job", id)
    if row is None:
        raise UnknownJob(f"there is no job {id}")
    return rows.job(row)


def jobs(db: Connection, filter: Filter) -> list[Job]:
    terms: list[tuple[str, Value]] = []
    if filter.state is not None:
        terms.append(("state = ?", filter.state))
    if filter.command is not None:
        terms.append(("command = ?", filter.command))
    if filter.product is not None:
        terms.append(("command BETWEEN ? || '.' AND ? || '/'", filter.product))
    if filter.user is not None:
        terms.append(("user = ?", filter.user))
    if filter.tag is not None:
        known = "json_each(iif(json_valid(tags), tags, NULL))"
        terms.append((f"EXISTS (SELECT 1 FROM {known} WHERE value = ?)", filter.tag))
    if filter.before is not None:
        terms.append(("seq < ?", filter.before))
    condition = " AND ".join(term for term, _ in terms) or "true"
    values: list[Value] = []
    for term, value in terms:
        values += [value] * term.count("?")
    limit = max(1, min(filter.limit, PAGE_MAX))
    found = db.query(SQL["jobs"].replace("{condition}", condition), (*values, limit))
    return [rows.job(row) for row in found]


def events(db: Connection, id: str, after: int, limit: int) -> list[Event]:
    seq = db.one("job_seq", id)
    if seq is None:
        raise UnknownJob(f"there is no job {id}")
    return [rows.event(id, row) for row in db.all("events", seq[0], after, max(1, min(limit, 10 * PAGE_MAX)))]


def news(db: Connection, cursors: Sequence[Cursor]) -> list[News]:
    """Beyond each cursor; the state is read first, so that what an ended job said last is never left out."""
    return [_news(db, cursor) for cursor in cursors]


def _news(db: Connection, cursor: Cursor) -> News:
    found = db.one("job_state", cursor.job)
    if found is None:
        return News([], gone=True)
    seq, state = cast("tuple[int, str]", found)
    said = [rows.event(cursor.job, row) for row in db.all("events", seq, cursor.after, cursor.limit)]
    whole = State(state).ended and (len(said) < cursor.limit or cursor.limit == 0)
    return News(said, get(db, cursor.job) if whole else None)


def ahead(db: Connection, job: Job) -> int:
    row = db.one("ahead", job.command, job.priority, job.seq)
    return cast(int, row[0]) if row else 0


def holders(db: Connection, key: str) -> list[str]:
    return [cast(str, row[0]) for row in db.all("holders", key)]


def counts(db: Connection, *, ended: bool) -> Counts:
    found: dict[str, Any] = {cast(str, row[0]): row[1] for row in db.all("counts")}
    if ended:
        found.update({cast(str, row[0]): row[1] for row in db.all("count_ended")})
    commands = [cast(str, row[0]) for row in db.all("ready_commands")]
    first = {command: row[0] for command in commands for row in db.all("oldest_ready", command)}
    since = {command: cast(float, moment) for command, moment in first.items() if moment is not None}
    return Counts(new=found["ready"] + found["scheduled"] + found["held"], ready_since=since, **found)


def command_stats(db: Connection) -> list[CommandStats]:
    return [CommandStats(*cast("tuple[Any, ...]", row)) for row in db.all("command_stats")]
