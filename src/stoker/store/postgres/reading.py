"""Reading jobs and figures. Each call is one or a few short statements; none holds a snapshot for longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.model.errors import UnknownJob
from stoker.model.event import Event
from stoker.model.job import Job
from stoker.store.base import CommandStats, Counts, Cursor, Filter, News
from stoker.store.postgres import rows
from stoker.store.postgres.session import Db

PAGE_MAX = 1000


async def get(db: Db, id: str) -> Job:
    row = await db.one("job", id) if storable(id) else None
    if row is None:
        raise UnknownJob(f"there is no job {id}")
    return rows.job(row)


def storable(text: str) -> bool:
    """Whether the text can be in the store at all; one that cannot is found nowhere."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


async def jobs(db: Db, filter: Filter) -> list[Job]:
    terms: list[str] = []
    values: list[Any] = []

    def need(term: str, *given: Any) -> None:
        terms.append(term.format(*(f"${len(values) + place}" for place in range(1, len(given) + 1))))
        values.extend(given)

    if filter.state is not None:
        need("state = {0}", filter.state)
    if filter.command is not None:
        need("command = {0}", filter.command)
    if filter.product is not None:
        need("split_part(command, '.', 1) = {0}", filter.product)
    if filter.user is not None:
        need('"user" = {0}', filter.user)
    if filter.tag is not None:
        need("{0} = ANY (tags)", filter.tag)
    if filter.before is not None:
        need("seq < {0}", filter.before)
    if not all(storable(value) for value in values if isinstance(value, str)):
        return []
    limit = max(1, min(filter.limit, PAGE_MAX))
    sql = db.sql["jobs"].replace("{condition}", " AND ".join(terms) or "true").replace("{limit}", str(limit))
    return [rows.job(row) for row in await db.query(sql, values)]


async def events(db: Db, id: str, after: int, limit: int) -> list[Event]:
    (news,) = await _said(db, [Cursor(id, after, max(1, min(limit, 10 * PAGE_MAX)))])
    if news is None:
        raise UnknownJob(f"there is no job {id}")
    return news[0]


async def news(db: Db, cursors: Sequence[Cursor]) -> list[News]:
    """Beyond each cursor."""
    answers = []
    for cursor, found in zip(cursors, await _said(db, cursors), strict=True):
        if found is None:
            answers.append(News([], gone=True))
            continue
        said, ended = found
        whole = ended and (len(said) < cursor.limit or cursor.limit == 0)
        answers.append(News(said, await _ended(db, cursor.job) if whole else None))
    return answers


async def _ended(db: Db, id: str) -> Job | None:
    """The whole job; None if it was begun anew, or purged, at this very moment: the next look will say."""
    row = await db.one("job", id)
    if row is None:
        return None
    job = rows.job(row)
    return job if job.state.ended else None


async def _said(db: Db, cursors: Sequence[Cursor]) -> list[tuple[list[Event], bool] | None]:
    """The events after each cursor and whether the job has ended; None for a job that is not there.

    Where a job is, is read first: what an ended one said last was committed before its end.
    """
    wanted = [cursor.job if storable(cursor.job) else "" for cursor in cursors]
    places = {n - 1: (seq, created, ended) for n, seq, created, ended in await db.all("places", wanted)}
    answers: list[tuple[list[Event], bool] | None] = [
        ([], places[place][2]) if place in places else None for place in range(len(cursors))
    ]
    asked = [place for place in places if cursors[place].limit > 0]
    if asked:
        found = await db.all(
            "said",
            [places[place][0] for place in asked],
            [places[place][1] for place in asked],
            [cursors[place].after for place in asked],
            [cursors[place].limit for place in asked],
        )
        for row in found:
            place = asked[row[0] - 1]
            answer = answers[place]
            assert answer is not None
            answer[0].append(rows.event(cursors[place].job, tuple(row)[1:]))
    return answers


async def ahead(db: Db, job: Job) -> int:
    found: int = await db.value("ahead", job.command, job.priority, job.seq)
    return found


async def holders(db: Db, key: str) -> list[str]:
    return [row[0] for row in await db.all("holders", key)]


async def pauses(db: Db) -> frozenset[str]:
    return frozenset(row[0] for row in await db.all("pauses"))


async def counts(db: Db, *, ended: bool) -> Counts:
    found: dict[str, Any] = {row[0]: row[1] for row in await db.all("counts")}
    if ended:
        found.update({row[0]: row[1] for row in await db.all("count_ended")})
    first = {row[0]: await db.value("oldest_ready", row[0]) for row in await db.all("ready_commands")}
    since = {command: moment for command, moment in first.items() if moment is not None}
    new = sum(found.get(word, 0) for word in ("ready", "scheduled", "held"))
    return Counts(new=new, ready_since=since, **found)


async def command_stats(db: Db) -> list[CommandStats]:
    return [CommandStats(*row) for row in await db.all("command_stats")]
