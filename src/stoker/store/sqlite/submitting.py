"""Storing new jobs."""

from __future__ import annotations

from typing import cast

from stoker.model.errors import DuplicateJob, IdConflict, RequestError
from stoker.model.job import OnDuplicate, Submission, Submitted, Waits
from stoker.model.unique import unique_key
from stoker.store.columns import pack_some
from stoker.store.sqlite import gates
from stoker.store.sqlite.connection import BAD_ROW, Connection


def submit(
    db: Connection, submissions: list[Submission], now: float, together: bool = False
) -> list[Submitted | Exception]:
    """Store each that can be stored; a refusal of one is its answer and harms no other, unless they belong together:
    then it is raised, and the transaction takes all of them back."""
    answers = [_submit(db, submission, now) for submission in submissions]
    if together:
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
    return answers


def _submit(db: Connection, new: Submission, now: float) -> Submitted | Exception:
    try:
        key = unique_key(new)
        # its own id first: a submission sent again stays the same job, whoever has the key by now
        if key is not None and db.one("same_job", new.id) is None:
            there = _existing(db, new, key, now)
            if there is not None:
                return there
        if not _insert(db, new, key, now):
            return _repeated(db, new)
        if key is not None and new.unique is not None:
            db.all("take_unique", key, new.id, None if new.unique.window is None else now + new.unique.window)
        return Submitted(new.id, True)
    except BAD_ROW as error:
        return RequestError(f"job {new.id!a} cannot be stored: {error}")


def _insert(db: Connection, new: Submission, key: str | None, now: float) -> bool:
    run_at = _run_at(new, now)
    waits = Waits.TIME if run_at > now else gates.waits_for(db, new.key, new.key_limit)
    db.all(
        "insert_job", new.id, new.command, waits, new.priority, now, run_at, _expires(new, run_at), new.user,
        new.key, new.key_limit, key, pack_some(new.tags), pack_some(new.overrides), new.input,
    )  # fmt: skip
    return db.changes() == 1


def _run_at(new: Submission, now: float) -> float:
    return now if new.run_at is None else max(new.run_at, now)


def _expires(new: Submission, run_at: float) -> float | None:
    return None if new.expires is None else run_at + new.expires


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
    job, state, gate = cast("tuple[str, str | None, str | None]", row)
    assert new.unique is not None
    match new.unique.on_duplicate:
        case OnDuplicate.REJECT:
            return DuplicateJob(f"{new.command}: job {job} is there already with the same unique key")
        case OnDuplicate.REPLACE if state == "new":
            _replace(db, job, new, now)
            for left in {gate, new.key}:
                gates.release(db, left, now)
    return Submitted(job, False)


def _replace(db: Connection, job: str, new: Submission, now: float) -> None:
    run_at = _run_at(new, now)
    waits = Waits.TIME if run_at > now else Waits.SLOT if new.key is None else Waits.KEY
    db.all(
        "replace_job", job, waits, new.priority, now, run_at, _expires(new, run_at), new.user,
        new.key, new.key_limit, pack_some(new.tags), pack_some(new.overrides), new.input,
    )  # fmt: skip
