"""Storing new jobs."""

from __future__ import annotations

from collections.abc import Sequence

from stoker.model.errors import DuplicateJob, IdConflict, RequestError
from stoker.model.job import Overrides, Submission, Submitted
from stoker.model.unique import unique_key
from stoker.store.postgres.rows import pack
from stoker.store.postgres.session import Db

INT = 1 << 31
SECONDS_MAX = 3e9
"""About a century: an expiry or a window beyond that is as good as none."""
_NONE = Overrides()


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


async def submit(db: Db, new: Sequence[Submission], *, wake: bool) -> tuple[list[Submitted | Exception], int]:
    """Store jobs without keys; a refusal of one is its answer. Also how many can run at once. ``wake`` tells the
    daemons of those."""
    answers: list[Submitted | Exception | None] = [refusal(one) for one in new]
    good = [(place, one) for place, one in enumerate(new) if answers[place] is None]
    ready = 0
    if good:
        jobs = [one for _, one in good]
        found = await db.all(
            "put",
            [one.id for one in jobs],
            [one.command for one in jobs],
            [one.input for one in jobs],
            [one.priority for one in jobs],
            [one.run_at for one in jobs],
            [_span(one.expires) for one in jobs],
            [one.user for one in jobs],
            [_array(one.tags) for one in jobs],
            [_overrides(one) for one in jobs],
            wake,
        )
        for n, answer, runs in found:
            place, one = good[n - 1]
            answers[place] = _answer(one, answer, one.id)
            ready += bool(runs) and answer == "created"
    return [answer for answer in answers if answer is not None], ready


async def submit_keyed(db: Db, new: Sequence[Submission], *, together: bool) -> list[Submitted | Exception]:
    """Store jobs with keys, one after the other under all their locks. ``together``: the first refusal is raised, and
    the transaction takes all of them back."""
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
        list(one.tags) or None, _overrides(one), one.key, one.key_limit, unique_key(one),
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


def _span(seconds: float | None) -> float | None:
    return None if seconds is None else max(-SECONDS_MAX, min(seconds, SECONDS_MAX))


def _array(texts: Sequence[str]) -> str | None:
    """Texts as the server writes an array of them: arrays of arrays must all have one length."""
    if not texts:
        return None
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in escaped) + "}"


def _overrides(new: Submission) -> str | None:
    return pack(new.overrides) if new.overrides != _NONE else None
