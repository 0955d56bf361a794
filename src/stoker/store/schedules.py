"""What a store guarantees of schedules: each slot is decided once, whoever asks and however often."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import msgspec

from stoker.model.monitor import Run
from stoker.model.slot import Decided, Defined, Fate, Line, Slot, Standing, Tick


class Known(msgspec.Struct, frozen=True):
    """A schedule and all that is kept of it but its slots, on its way to another store."""

    standing: Standing
    fingerprint: str
    seen: float
    """When a daemon last had it in its files."""


class Schedules(Protocol):
    """Schedules and their slots, as ``store.schedules``."""

    def know(self, defined: Sequence[Defined]) -> Awaitable[list[Standing]]:
        """Enter what is new, as of now: no slot before this moment is ever owed. So is one whose definition changed,
        and one that is more than an hour ahead of the clock, which was wrong then. How far each has come, in order."""

    def standings(self, lines: Sequence[Line]) -> Awaitable[list[Standing | None]]:
        """How far these have come, in order; None for one that is not known."""

    def decide(self, ticks: Sequence[Tick], decider: str) -> Awaitable[list[Decided]]:
        """Decide slots, each at most once for ever: one that is not later than every slot decided before is
        ``repeated`` and nothing is written for it. A job is stored in the same transaction as the decision about its
        slot; a refusal of one harms no other. Of one schedule, ticks come in the order of their slots. A tick that
        bounds how many may wait is skipped when so many jobs with its key have not begun."""

    def pause(self, name: str) -> Awaitable[bool]:
        """Let every slot pass without a job, on all nodes; whether there is such a schedule."""

    def resume(self, name: str) -> Awaitable[bool]:
        """Fire again. What passed meanwhile is decided and is not caught up. Whether it was paused."""

    def slots(self, name: str | None, before: float | None, limit: int) -> Awaitable[list[Slot]]:
        """Decided slots, the newest first: of one schedule by the slot, of all by the moment of decision. ``before`` is
        that of the last one of the page before."""

    def runs(self, wanted: Sequence[tuple[Line, int]]) -> Awaitable[list[list[Run]]]:
        """Of each schedule the newest decided slots, up to so many, the oldest of them first, with their jobs as far as
        those are kept. Inputs and outputs are left out."""

    def dump(self, after: Line | None, limit: int) -> Awaitable[list[Known]]:
        """Schedules beyond one, by name and node. For a move: nobody should be working on the store."""

    def dump_slots(self, after: Slot | None, limit: int) -> Awaitable[list[Slot]]:
        """Decided slots beyond one, by name, node and slot."""

    def restore(self, known: Sequence[Known], slots: Sequence[Slot]) -> Awaitable[int]:
        """Store what another store kept, all or nothing; how many of all were not there yet. Of a schedule that is
        there the pause stays as it is, and no slot that either store has decided is owed any more."""

    def forget(self, keep: float, limit: int = 1000) -> Awaitable[int]:
        """Delete slots decided longer ago than so many seconds, up to ``limit``, and schedules that no daemon has seen
        for as long; how many slots went."""


def slot_row(row: Sequence[Any]) -> Slot:
    """A row as both drivers read it."""
    name, node, slot, first, count, at, fate, job, reason, decider = row
    return Slot(
        line=Line(name, node), slot=slot, first=first, count=count, at=at, fate=Fate(fate), job=job, reason=reason,
        decider=decider,
    )  # fmt: skip


def known_row(row: Sequence[Any]) -> Known:
    """The same of a schedule."""
    name, node, last, paused, job, fingerprint, seen = row
    return Known(Standing(Line(name, node), last, paused, job), fingerprint, seen)
