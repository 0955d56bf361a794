"""Monitors: whether a schedule does what it should, judged from its decided slots and the endings of their jobs alone.

    slots decided ─┐
    jobs' endings ─┼──► marks, one for each slot (the calendar) ──► changes of health ──► the newest is told
    the clock ─────┘

There is no other record: whoever judges the same slots comes to the same change, so that it does not matter which node
tells of it. Everything here is pure; moments are the store's clock, seconds since the epoch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from stoker.model import quantities
from stoker.model.cron import Cron
from stoker.model.job import Job, State
from stoker.model.slot import Fate, Slot

FAILURES_MAX = 100
SLUG_MAX = 50
"""Characters of a monitor's short name: what Sentry takes."""


class Health(StrEnum):
    """What a schedule is like."""

    OK = "ok"
    MISSED = "missed"
    """A slot has no job: nobody was there in time, or it was refused."""
    LATE = "late"
    """A slot's job did not start within the margin."""
    TOO_LONG = "too_long"
    """A run takes longer than it should."""
    FAILING = "failing"
    """So many runs in a row have failed."""


class Mark(StrEnum):
    """What became of one slot, on the calendar."""

    OK = "ok"
    FAILED = "failed"
    LATE = "late"
    """It runs or ran, but began after the margin; or has not begun."""
    MISSED = "missed"
    SKIPPED = "skipped"
    """The run before had not ended, or this one was cancelled."""
    PAUSED = "paused"
    RUNNING = "running"
    """It runs, or waits and is still in time."""
    NOT_DUE = "not_due"
    UNKNOWN = "unknown"
    """Its job is kept no longer."""


class Rules(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a monitor expects. ``margin`` is how many seconds after its slot a run starts at the latest, ``longest`` how
    many it takes at most (None: as long as its time limit lets it), ``failures`` how many failed runs in a row are an
    alarm. ``slug`` is its name outside."""

    margin: float = 300.0
    longest: float | None = None
    failures: int = 1
    slug: str = ""


class Run(NamedTuple):
    """A decided slot, and its job as far as it is kept."""

    slot: Slot
    job: Job | None


class Change(NamedTuple):
    """The newest change of a schedule's health. ``since`` is the slot that brought it; ``before`` is None where what
    was before is not known."""

    health: Health
    before: Health | None
    since: float
    why: str
    job: str | None


def read_rules(told: Any) -> bool | dict[str, Any]:
    """The key ``monitor`` of an entry: true, false, or a table of what differs from the settings. Raises ValueError."""
    if isinstance(told, bool) or told in (0, 1):
        return bool(told)
    if not isinstance(told, Mapping):
        raise ValueError(f"true, false or a table is needed, not {told!r:.80}")
    found: dict[str, Any] = {}
    for key, value in told.items():
        if key in ("margin", "longest"):
            if not isinstance(value, int | float | str) or (seconds := quantities.seconds(value)) <= 0:
                raise ValueError(f"{key}: a time of more than 0 is needed, not {value!r:.80}")
            found[key] = seconds
        elif key == "failures":
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= FAILURES_MAX:
                raise ValueError(f"failures: a whole number from 1 to {FAILURES_MAX} is needed, not {value!r:.80}")
            found[key] = value
        elif key == "slug":
            found[key] = _slug(value)
        else:
            raise ValueError(f"there is no key {key!r:.80}; known are margin, longest, failures, slug")
    return found


def rules(told: bool | Mapping[str, Any] | None, name: str, margin: float, longest: float, failures: int) -> Rules:
    """The rules of a schedule of this name: its own, and for the rest those of the settings."""
    own = {} if told is None or isinstance(told, bool) else dict(told)
    base: dict[str, Any] = {"margin": margin, "longest": longest or None, "failures": failures, "slug": slug_of(name)}
    return Rules(**{**base, **own})


def slug_of(name: str) -> str:
    """A short name from a schedule's: lower case, digits, hyphens; with a few digits of its own where it was cut."""
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "_-") else "-" for one in name.lower())
    found = "-".join(part for part in plain.split("-") if part)
    if found and len(found) <= SLUG_MAX and found.isascii() and len(name) == len(plain):
        return found
    digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    return f"{found[: SLUG_MAX - 9]}-{digest}".strip("-")


def mark(run: Run, rules: Rules, now: float) -> Mark:
    """What became of a slot."""
    slot, job = run
    if slot.fate is not Fate.FIRED:
        words = {Fate.SKIPPED: Mark.SKIPPED, Fate.PAUSED: Mark.PAUSED}
        return words.get(slot.fate, Mark.MISSED)
    if job is None:
        return Mark.UNKNOWN
    late = _late(slot, job, rules, now)
    if job.state is State.COMPLETED:
        return Mark.LATE if late else Mark.OK
    if job.state is State.FAILED:
        return Mark.FAILED
    if job.state is State.CANCELLED:
        return Mark.SKIPPED
    return Mark.LATE if late else Mark.RUNNING


def judge(runs: Sequence[Run], rules: Rules, now: float, *, whole: bool, overdue: float | None = None) -> Change | None:
    """The newest change of health, from the slots of a schedule in their order; None while it was never anything but
    well. ``whole`` is whether these are all its slots, so that it was well before the first. ``overdue`` is a slot that
    nobody has decided within the margin."""
    health: Health | None = Health.OK if whole else None
    change: Change | None = None
    failures = 0
    for run in runs:
        marked = mark(run, rules, now)
        if marked is Mark.UNKNOWN:
            health, failures = None, 0
            continue
        failures = failures + 1 if marked is Mark.FAILED else 0 if marked in (Mark.OK, Mark.LATE) else failures
        for then, why in _steps(run, marked, rules, now, failures):
            if then is not health:
                change = Change(then, health, run.slot.first, why, run.slot.job)
                health = then
    if overdue is not None and health is not Health.MISSED:
        change = Change(Health.MISSED, health, overdue, "nobody was there to fire it in time", None)
    return change


def overdue(cron: Cron, last: float, delay: float, rules: Rules, now: float) -> float | None:
    """The first slot later than ``last`` if it should have been decided by now, and begun within the margin."""
    first = cron.next(last)
    return first if first is not None and first + delay + rules.margin < now else None


def look_again(runs: Iterable[Run], cron: Cron, last: float, delay: float, rules: Rules, now: float) -> float:
    """The next moment at which a schedule's health may change by the passing of time alone; infinity for none."""
    coming = cron.next(max(last, now - rules.margin - delay))
    found = [math.inf if coming is None else coming + delay + rules.margin]
    for slot, job in runs:
        if job is None or slot.fate is not Fate.FIRED or job.state.ended:
            continue
        if job.state is State.RUNNING:
            if rules.longest is not None and job.started is not None:
                found.append(job.started + rules.longest)
        else:
            found.append(slot.slot + rules.margin)
    return min((at for at in found if at > now), default=math.inf)


def calendar(
    runs: Iterable[Run],
    cron: Cron,
    last: float,
    begun: float,
    rules: Rules,
    now: float,
    start: float,
    end: float,
    most: int,
) -> Iterator[tuple[float, float, int, Mark, Run | None]]:
    """The slots of a schedule from ``start`` to ``end``, in their order: the moment (of several missed ones the last),
    the first of them, how many, what became of them. ``last`` is how far it has come, ``begun`` its first decided slot:
    what lies before that was not due here."""
    shown = 0
    for run in sorted(runs, key=lambda run: run.slot.slot):
        if start <= run.slot.slot < end and shown < most:
            yield run.slot.slot, run.slot.first, run.slot.count, mark(run, rules, now), run
            shown += 1
    at = cron.next(max(last, start - 1e-3, begun))
    while at is not None and at < end and shown < most:
        marked = Mark.MISSED if at + rules.margin < now else Mark.NOT_DUE
        yield at, at, 1, marked, None
        shown += 1
        at = cron.next(at)


def _steps(run: Run, marked: Mark, rules: Rules, now: float, failures: int) -> Iterator[tuple[Health, str]]:
    """What a slot does to the health of its schedule, one after the other, with the reason."""
    slot, job = run
    if marked is Mark.MISSED:
        yield Health.MISSED, slot.reason or str(slot.fate)
        return
    if marked is Mark.LATE:
        yield Health.LATE, f"it did not start within {quantities.show_seconds(rules.margin)}"
    if marked is Mark.FAILED and failures >= rules.failures:
        fault = "" if job is None or job.fault is None else str(job.fault)
        many = f"{failures} runs in a row have failed" if rules.failures > 1 else "a run has failed"
        yield Health.FAILING, f"{many}: {fault}"[:500] if fault else many
    if job is None or job.started is None:
        return
    if rules.longest is not None and (job.finished or now) - job.started > rules.longest and marked is not Mark.FAILED:
        yield Health.TOO_LONG, f"it takes longer than {quantities.show_seconds(rules.longest)}"
    if job.state is State.COMPLETED:
        yield Health.OK, "a run has completed"


def _late(slot: Slot, job: Job, rules: Rules, now: float) -> bool:
    """Whether the first attempt began too late, or has not begun; of a second one nobody knows."""
    end = slot.slot + rules.margin
    if job.attempt > 1 or (job.attempt == 1 and job.state is State.NEW):
        return False
    begun = job.started if job.started is not None else job.finished
    return (begun if begun is not None else now) > end


def _slug(told: Any) -> str:
    allowed = isinstance(told, str) and 0 < len(told) <= SLUG_MAX and told.isascii()
    if not allowed or not all(one.isalnum() or one in "_-" for one in told):
        raise ValueError(f"slug: letters, digits, - and _ are needed, {SLUG_MAX} at most, not {told!r:.80}")
    return str(told)
