"""Storing new jobs."""

from __future__ import annotations

import hashlib
from typing import cast

from stoker.model.errors import DuplicateJob, IdConflict, RequestError
from stoker.model.job import OnDuplicate, Overrides, Submission, Submitted, Waits
from stoker.store.sqlite import gates
from stoker.store.sqlite.connection import Connection
from stoker.store.sqlite.rows import pack

_NONE = Overrides()


def submit(db: Connection, submissions: list[Submission], now: float) -> list[Submitted | Exception]:
    """Store each that can be stored; a refusal of one is its answer and harms no other."""
    return [_submit(db, submission, now) for submission in submissions]


def _submit(db: Connection, new: Submission, now: float) -> Submitted | Exception:
    try:
        key = unique_key(new)
        if key is not None:
            there = _existing(db, new, key, now)
            if there is not None:
                return there
        if not _insert(db, new, key, now):
            return _repeated(db, new)
        if key is not None and new.unique is not None:
            db.all("take_unique", key, new.id, None if new.unique.window is None else now + new.unique.window)
        return Submitted(new.id, True)
    except RequestError as refusal:
        return refusal


def unique_key(new: Submission) -> str | None:
    """The key under which the job is unique, with the command in front; None when it is not."""
    if new.unique is None:
        return None
    if new.unique.key is not None:
        return f"{new.command}:{new.unique.key}"
    digest = hashlib.blake2b(new.input, digest_size=16).hexdigest()
    return f"{new.command}#{digest}"


def _insert(db: Connection, new: Submission, key: str | None, now: float) -> bool:
    run_at = now if new.run_at is None else new.run_at
    waits = Waits.TIME if run_at > now else gates.waits_for(db, new.key, new.key_limit)
    db.all(
        "insert_job",
        new.id,
        new.command,
        waits,
        new.priority,
        now,
        max(run_at, now),
        None if new.expires is None else max(run_at, now) + new.expires,
        new.user,
        new.key,
        new.key_limit,
        key,
        pack(new.tags) if new.tags else None,
        pack(new.overrides) if new.overrides != _NONE else None,
        new.input,
    )
    return db.changes() == 1


def _repeated(db: Connection, new: Submission) -> Submitted | Exception:
    """The id is taken: the same request sent again, or another one by mistake."""
    row = db.one("same_job", new.id)
    if row is not None and row == (new.command, new.input):
        return Submitted(new.id, False)
    return IdConflict(f"the job id {new.id} was used before for another command or input")


def _existing(db: Connection, new: Submission, key: str, now: float) -> Submitted | Exception | None:
    row = db.one("find_unique", key, now)
    if row is None:
        return None
    job, state = cast("tuple[str, str | None]", row)
    assert new.unique is not None
    if job == new.id:
        return None
    match new.unique.on_duplicate:
        case OnDuplicate.REJECT:
            return DuplicateJob(f"{new.command}: job {job} is there already with the same unique key")
        case OnDuplicate.REPLACE if state == "new":
            run_at = now if new.run_at is None else max(now, new.run_at)
            waits = Waits.TIME if run_at > now else Waits.SLOT if new.key is None else Waits.KEY
            db.all("replace_input", job, new.input, now, run_at, waits, new.priority)
            gates.release(db, new.key, now)
    return Submitted(job, False)
