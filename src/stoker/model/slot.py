"""Slots: the moments of a schedule, and what becomes of each. A slot is decided once, and never again."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from stoker.model.job import Submission


def shown(slot: float) -> str:
    """A slot as it stands in a job's tags and is told to people: ``2026-03-08T02:30:00Z``."""
    return datetime.fromtimestamp(slot, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Fate(StrEnum):
    """What becomes of a slot."""

    FIRED = "fired"
    """A job stands for it."""
    SKIPPED = "skipped"
    """The job of an earlier slot had not ended, or so many waited for their turn as may."""
    PAUSED = "paused"
    MISSED = "missed"
    """Nobody was there in time, and the schedule does not catch up."""
    REFUSED = "refused"
    """Its job could not be stored."""
    REPEATED = "repeated"
    """It was decided before; the only fate that is never written."""


class Line(msgspec.Struct, frozen=True):
    """A schedule as a store knows it: by its name, and the node where each node runs it for itself."""

    name: str
    node: str = ""


class Defined(msgspec.Struct, frozen=True):
    """A schedule as it is defined now."""

    line: Line
    fingerprint: str


class Standing(msgspec.Struct, frozen=True):
    """How far a schedule has come: every slot up to ``last`` is decided."""

    line: Line
    last: float
    paused: float | None = None
    job: str | None = None


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """A slot to decide: with a submission it is to be fired, without one it was missed or refused as ``reason`` says.
    Of several missed ones ``slot`` is the last and ``first`` the first. Where so many jobs with the submission's key as
    ``waiting`` says have not begun, it is skipped."""

    line: Line
    slot: float
    submission: Submission | None = None
    fate: Fate = Fate.FIRED
    reason: str = ""
    first: float | None = None
    count: int = 1
    waiting: int | None = None

    def full(self, waiting: int) -> Decided | None:
        """What becomes of it while so many jobs wait: None if there is room for one more."""
        if self.waiting is None or waiting < self.waiting:
            return None
        return Decided(Fate.SKIPPED, reason=f"{waiting} {'run waits' if waiting == 1 else 'runs wait'} already")


class Decided(msgspec.Struct, frozen=True):
    """What became of a tick. ``job`` stands for it, or is the one because of which it was skipped; ``before`` is the
    newest job of the schedule until then."""

    fate: Fate
    job: str | None = None
    before: str | None = None
    reason: str = ""


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A decided slot, as it is read back. Times are seconds since the epoch, UTC."""

    line: Line
    slot: float
    first: float
    count: int
    at: float
    fate: Fate
    job: str | None
    reason: str
    decider: str
