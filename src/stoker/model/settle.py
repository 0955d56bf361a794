"""How every attempt ends: one pure decision.

A run ends in exactly one :data:`~stoker.model.outcome.Outcome`; what that means for the job is decided here and
nowhere else. The router hands in what it knows, gets back an :class:`Ending`, and writes it with the attempt's fence:
if the fence no longer matches, nothing is written, because somebody else has the job now.

    outcome      attempts left          none left
    ─────────    ───────────────────    ──────────────────
    Done         completed              completed
    Retry        new, after back-off    failed
    Snoozed      new, not counted       new, not counted
    Failed       failed                 failed
    Cancelled    cancelled              cancelled
    Lost         new, after back-off    failed              (see below for what "left" means here)
    Returned     new, not counted       new, not counted    (``once`` and begun: failed)

A request to cancel wins over everything but a finished result's absence: once asked for, no ending leads back to
``new``; a result that came in spite of it is dropped and the job is cancelled.

Attempts left. ``retries`` counts how often a *failing* job may start again. When the house falls (the daemon or its
zygote is killed) the job is not to blame, so such losses are forgiven up to :data:`HOUSE_RETRIES` starts more even for
``retries=0``; beyond that the job may be what kills the house. A command declared ``once`` is never started twice,
unless its own handler snoozes.
"""

from __future__ import annotations

import msgspec

from stoker.model.command import CommandSpec
from stoker.model.job import Claimed, State
from stoker.model.outcome import (
    Blame,
    Cancelled,
    Done,
    Failed,
    Fault,
    Lost,
    Outcome,
    Retry,
    Returned,
    Snoozed,
)

HOUSE_RETRIES = 2


class Ending(msgspec.Struct, frozen=True):
    """What is written about a job when an attempt ends. ``run_at`` only for a job that goes back to ``new``."""

    state: State
    attempt: int
    run_at: float | None = None
    output: bytes | None = None
    fault: Fault | None = None

    @property
    def again(self) -> bool:
        return self.run_at is not None


def after(
    job: Claimed,
    outcome: Outcome,
    spec: CommandSpec | None,
    *,
    now: float,
    chance: float,
    cancel: str | None = None,
) -> Ending:
    """Decide what ``outcome`` means for ``job``.

    ``spec`` is the command as registered, or None when nobody knows it. ``now`` is the store's clock, ``chance`` a
    random number in [0, 1) for the jitter, ``cancel`` the reason somebody asked to cancel the job, if anybody did.
    """
    if cancel is not None:
        return Ending(State.CANCELLED, job.attempt, fault=Fault("Cancelled", cancel))
    match outcome:
        case Done():
            return Ending(State.COMPLETED, job.attempt, output=outcome.output)
        case Failed(fault):
            return Ending(State.FAILED, job.attempt, fault=fault)
        case Cancelled(reason):
            return Ending(State.CANCELLED, job.attempt, fault=Fault("Cancelled", reason))
        case Snoozed(wait, _):
            return Ending(State.NEW, job.attempt - 1, run_at=now + wait)
        case Returned(reason, True) if spec is not None and spec.once:
            fault = Fault("Returned", f"{reason} while it ran, and it runs only once")
            return Ending(State.FAILED, job.attempt, fault=fault)
        case Returned():
            return Ending(State.NEW, job.attempt - 1, run_at=now)
        case Retry(fault, wait):
            return _again(job, fault, spec, now, chance, allowed=_retries(job, spec), wait=wait)
        case Lost(fault, Blame.JOB):
            return _again(job, fault, spec, now, chance, allowed=_retries(job, spec))
        case Lost(fault):
            return _again(job, fault, spec, now, chance, allowed=_forgiven(job, spec))


def _retries(job: Claimed, spec: CommandSpec | None) -> int:
    if spec is not None and spec.once:
        return 0
    if job.overrides.retries is not None:
        return job.overrides.retries
    return spec.backoff.retries if spec else 0


def _forgiven(job: Claimed, spec: CommandSpec | None) -> int:
    if spec is not None and spec.once:
        return 0
    return max(_retries(job, spec), HOUSE_RETRIES)


def _again(
    job: Claimed,
    fault: Fault,
    spec: CommandSpec | None,
    now: float,
    chance: float,
    *,
    allowed: int,
    wait: float | None = None,
) -> Ending:
    if job.attempt > allowed:
        return Ending(State.FAILED, job.attempt, fault=fault)
    if wait is None:
        wait = spec.backoff.delay(job.attempt, chance) if spec else 0.0
    return Ending(State.NEW, job.attempt, run_at=now + wait, fault=fault)
