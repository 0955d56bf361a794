"""What happens to jobs without anybody running them: they fall due, expire, are cancelled, retried, and forgotten."""

from __future__ import annotations

from collections.abc import Collection

from stoker.model.errors import DuplicateJob, UnknownJob, WrongState
from stoker.model.job import Job
from stoker.model.outcome import Fault
from stoker.model.product import unknown
from stoker.store.columns import pack
from stoker.store.postgres import reading
from stoker.store.postgres.session import Db

BITE = 500
"""Jobs in one statement at most: bounds how long anybody waits for their rows."""


async def promote(db: Db) -> float | None:
    """Let due jobs be ready; when to look again."""
    found: float | None = await db.value("promote", BITE)
    return found


async def expire(db: Db) -> list[str]:
    fault = pack(Fault("Expired", "waited longer than the job's expiry for a free slot"))
    gone: list[str] = []
    while late := [row[0] for row in await db.all("expired", BITE)]:
        ended = [row[0] for row in await db.all("end_new", late, "failed", fault, True)]
        gone += ended
        if not ended:
            break
    return gone


async def orphan(db: Db, known: Collection[str]) -> list[str]:
    """Fail what nobody knows how to run, naming it."""
    gone: list[str] = []
    for (command,) in await db.all("ready_commands"):
        if command not in known:
            fault = pack(Fault("UnknownCommand", unknown(command, known)))
            ready = [row[0] for row in await db.all("ready_of", command, BITE)]
            gone += [row[0] for row in await db.all("end_new", ready, "failed", fault, False)]
    return gone


async def cancel(db: Db, id: str, reason: str) -> Job:
    text = reason.replace("\x00", "\ufffd")
    await db.value("cancel", id, text, pack(Fault("Cancelled", text)))
    return await reading.get(db, id)


async def retry(db: Db, id: str) -> Job:
    refused = await db.value("retry", id)
    if refused is None:
        return await reading.get(db, id)
    why, _, what = refused.partition(" ")
    if why == "state":
        raise WrongState(f"job {id} is {what}; only an ended job can be retried")
    if why == "taken":
        raise DuplicateJob(f"job {what} is there already with the same unique key; cancel it first")
    raise UnknownJob(f"there is no job {id}")


async def pause(db: Db, name: str) -> None:
    await db.all("pause", name)


async def resume(db: Db, name: str) -> bool:
    return bool(await db.all("resume", name))


async def purge(db: Db, keep_jobs: float, keep_events: float, limit: int) -> int:
    went: int = await db.value("purge", keep_jobs, keep_events, limit)
    return went
