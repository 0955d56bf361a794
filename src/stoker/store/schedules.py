"""What a store guarantees of schedules: each slot is decided once, whoever asks and however often."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from stoker.model.job import Submission


class Fate(StrEnum):
    """What becomes of a slot."""

    FIRED = "fired"
    """A job stands for it."""
    SKIPPED = "skipped"
    """The job of an earlier slot had not ended."""
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
    Of several missed ones ``slot`` is the last and ``first`` the first."""

    line: Line
    slot: float
    submission: Submission | None = None
    fate: Fate = Fate.FIRED
    reason: str = ""
    first: float | None = None
    count: int = 1


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


class Schedules(Protocol):
    """Schedules and their slots, as ``store.schedules``."""

    def know(self, defined: Sequence[Defined]) -> Awaitable[list[Standing]]:
        """Enter what is new, as of now: no slot before this moment is ever owed. So is one whose definition changed,
        whatever it was before. How far each has come, in order."""

    def standings(self, lines: Sequence[Line]) -> Awaitable[list[Standing | None]]:
        """How far these have come, in order; None for one that is not known."""

    def decide(self, ticks: Sequence[Tick], decider: str) -> Awaitable[list[Decided]]:
        """Decide slots, each at most once for ever: one that is not later than every slot decided before is
        ``repeated`` and nothing is written for it. A job is stored in the same transaction as the decision about its
        slot; a refusal of one harms no other. Of one schedule, ticks come in the order of their slots."""

    def pause(self, name: str) -> Awaitable[bool]:
        """Let every slot pass without a job, on all nodes; whether there is such a schedule."""

    def resume(self, name: str) -> Awaitable[bool]:
        """Fire again. What passed meanwhile is decided and is not caught up. Whether it was paused."""

    def slots(self, name: str | None, before: float | None, limit: int) -> Awaitable[list[Slot]]:
        """Decided slots, the newest first: of one schedule by the slot, of all by the moment of decision. ``before`` is
        that of the last one of the page before."""

    def forget(self, keep: float, limit: int = 1000) -> Awaitable[int]:
        """Delete slots decided longer ago than so many seconds, up to ``limit``, and schedules that no daemon has seen
        for as long; how many slots went."""
