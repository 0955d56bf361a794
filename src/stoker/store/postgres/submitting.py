"""Storing new jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stoker.model.errors import DuplicateJob, IdConflict, RequestError
from stoker.model.job import Submission, Submitted
from stoker.model.unique import unique_key
from stoker.store.columns import pack_some
from stoker.store.postgres.session import Db

DAY = 86400.0
INT = 1 << 31
SECONDS_MAX = 3e9
"""About a century: an expiry or a window beyond that is as good as none."""
_UUID7 = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")


def is_keyed(new: Submission) -> bool:
    """Whether it must be stored under the locks of its keys."""
    return new.unique is not None or new.key is not None


def refusal(new: Submission) -> RequestError | None:
    """Why a submission cannot be stored, if that can be seen from here: so that one bad row costs its neighbours
    nothing."""
    try:
        texts = (new.id, new.command, new.user, new.key, new.unique.key if new.unique else None, *new.tags)
        for text in texts:
            if text is not None and "\x00" in text:
                raise ValueError("a text with the character NUL")
            if text is not None:
                text.encode()
        if not -INT <= new.priority < INT or not 0 <= new.key_limit < INT:
            raise ValueError("a number beyond 32 bits")
        if not isinstance(new.input, bytes):
            raise ValueError("an input that is no bytes")
        for number in (new.run_at, new.expires, new.unique.window if new.unique else None):
            if number is not None and number != number:
                raise ValueError("a time that is no number")
    except (ValueError, TypeError) as error:
        return RequestError(f"job {new.id!a} cannot be stored: {error}")
    return None


async def submit(
    db: Db, new: Sequence[Submission], now: float, *, wake: bool, doubt: bool = False
) -> tuple[list[Submitted | Exception], int]:
    """Store jobs without keys; a refusal of one is its answer. Also how many can run at once. ``wake`` tells the
    daemons of those; in ``doubt`` they may have been stored before."""
    answers: list[Submitted | Exception | None] = [refusal(one) for one in new]
    good = [(place, one) for place, one in enumerate(new) if answers[place] is None]
    ready = 0
    if good:
        jobs = [one for _, one in good]
        values = [_values(one) for one in jobs]
        since = None if not doubt and all(one.fresh for one in jobs) else _floor([one.id for one in jobs], now)
        if len(values) == 1:
            found = await db.all("put_alone", *values[0], since, wake)
        else:
            found = await db.all("put", *(list(column) for column in zip(*values, strict=True)), since, wake)
        for place, one in good:
            answers[place] = Submitted(one.id, True)
        for n, answer, runs in found:
            if n:
                place, one = good[n - 1]
                answers[place] = _answer(one, answer, one.id)
            ready += runs
    return [answer for answer in answers if answer is not None], ready


def _values(one: Submission) -> tuple[object, ...]:
    return (
        one.id, one.command, one.input, one.priority, one.run_at, _span(one.expires), one.user, _array(one.tags),
        pack_some(one.overrides),
    )  # fmt: skip


async def submit_keyed(
    db: Db, new: Sequence[Submission], now: float, *, together: bool, doubt: bool = False
) -> list[Submitted | Exception]:
    """Store jobs of which some have keys, one after the other under all their locks. ``together``: the first refusal
    is raised, and the transaction takes all of them back."""
    if not any(is_keyed(one) for one in new):
        plain, _ = await submit(db, new, now, wake=True, doubt=doubt)
        refused = next((answer for answer in plain if isinstance(answer, Exception)), None)
        if together and refused is not None:
            raise refused
        return plain
    keys = [unique_key(one) for one in new if refusal(one) is None]
    gates = [one.key for one in new if refusal(one) is None]
    await db.all("lock_keys", keys, gates)
    answers: list[Submitted | Exception] = []
    ready = False
    for one in new:
        answer: Submitted | Exception | None = refusal(one)
        if answer is None:
            answer, runs = await _put_one(db, one)
            ready = ready or runs
        if together and isinstance(answer, Exception):
            raise answer
        answers.append(answer)
    if ready:
        await db.value("wake", "jobs")
    return answers


async def _put_one(db: Db, one: Submission) -> tuple[Submitted | Exception, bool]:
    row = await db.one(
        "put_one", one.id, one.command, one.input, one.priority, one.run_at, _span(one.expires), one.user,
        list(one.tags) or None, pack_some(one.overrides), one.key, one.key_limit, unique_key(one),
        _span(one.unique.window) if one.unique else None, one.unique.on_duplicate if one.unique else None,
    )  # fmt: skip
    assert row is not None
    return _answer(one, row["answer"], row["id"]), bool(row["ready"])


def _answer(one: Submission, answer: str, id: str) -> Submitted | Exception:
    match answer:
        case "created":
            return Submitted(one.id, True)
        case "conflict":
            return IdConflict(f"the job id {one.id} was used before for another command or input")
        case "duplicate":
            return DuplicateJob(f"{one.command}: job {id} is there already with the same unique key")
        case _:
            return Submitted(id, False)


def _floor(ids: Sequence[str], now: float) -> float:
    """Since when these ids can have been in use: a UUIDv7 says when it was made. A day for clocks that are wrong; an id
    of another kind, or from further in the future than that, may be of any age."""
    oldest = now + DAY
    for id in ids:
        if not _UUID7.match(id) or (made := int(id[:12], 16) / 1000) > now + DAY:
            return 0.0
        oldest = min(oldest, made)
    return max(0.0, oldest - DAY)


def _span(seconds: float | None) -> float | None:
    return None if seconds is None else max(-SECONDS_MAX, min(seconds, SECONDS_MAX))


def _array(texts: Sequence[str]) -> str | None:
    """Texts as the server writes an array of them: arrays of arrays must all have one length."""
    if not texts:
        return None
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in escaped) + "}"
