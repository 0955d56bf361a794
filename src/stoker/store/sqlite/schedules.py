"""Schedules on one file: a slot and its job in one transaction of the writer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from stoker.model.job import Submitted
from stoker.model.monitor import Run
from stoker.model.slot import Decided, Defined, Fate, Line, Slot, Standing, Tick
from stoker.store.schedules import Known, known_row, slot_row
from stoker.store.sqlite import rows, submitting
from stoker.store.sqlite.connection import Connection
from stoker.store.sqlite.writer import Worker

SLOTS_MAX = 10_000
SLOT = 10
"""Columns of a slot."""


class SqliteSchedules:
    """See :class:`stoker.store.schedules.Schedules` for what each method guarantees."""

    def __init__(self, writer: Worker, reader: Worker, now: Callable[[], float]) -> None:
        self._writer = writer
        self._reader = reader
        self._now = now

    def know(self, defined: Sequence[Defined]) -> asyncio.Future[list[Standing]]:
        wanted = list(defined)

        def know(db: Connection) -> list[Standing]:
            now = self._now()
            for one in wanted:
                db.all("schedule_enter", one.line.name, one.line.node, one.fingerprint, now)
            return [cast(Standing, _standing(db, one.line)) for one in wanted]

        return self._writer.do(know)

    def standings(self, lines: Sequence[Line]) -> asyncio.Future[list[Standing | None]]:
        wanted = list(lines)
        return self._reader.do(lambda db: [_standing(db, line) for line in wanted])

    def decide(self, ticks: Sequence[Tick], decider: str) -> asyncio.Future[list[Decided]]:
        wanted = list(ticks)
        return self._writer.do(lambda db: [_decide(db, tick, decider, self._now()) for tick in wanted])

    def pause(self, name: str) -> asyncio.Future[bool]:
        def pause(db: Connection) -> bool:
            db.all("schedule_pause", name, self._now())
            return db.changes() > 0

        return self._writer.do(pause)

    def resume(self, name: str) -> asyncio.Future[bool]:
        def resume(db: Connection) -> bool:
            db.all("schedule_resume", name, self._now())
            return db.changes() > 0

        return self._writer.do(resume)

    def slots(self, name: str | None, before: float | None, limit: int) -> asyncio.Future[list[Slot]]:
        end, most = math.inf if before is None else before, max(1, min(limit, SLOTS_MAX))

        def slots(db: Connection) -> list[Slot]:
            rows = db.all("schedule_slots", end, most) if name is None else db.all("schedule_slots_of", name, end, most)
            return [slot_row(cast("tuple[Any, ...]", row)) for row in rows]

        return self._reader.do(slots)

    def runs(self, wanted: Sequence[tuple[Line, int]]) -> asyncio.Future[list[list[Run]]]:
        asked = list(wanted)
        return self._reader.do(lambda db: [_runs(db, line, most) for line, most in asked])

    def dump(self, after: Line | None, limit: int) -> asyncio.Future[list[Known]]:
        name, node = (after.name, after.node) if after else ("", "")
        return self._reader.do(lambda db: [known_row(row) for row in db.all("schedule_dump", name, node, limit)])

    def dump_slots(self, after: Slot | None, limit: int) -> asyncio.Future[list[Slot]]:
        place = (after.line.name, after.line.node, after.slot) if after else ("", "", 0.0)
        return self._reader.do(
            lambda db: [
                slot_row(cast("tuple[Any, ...]", row)) for row in db.all("schedule_dump_slots", *place, limit)
            ]
        )  # fmt: skip

    def restore(self, known: Sequence[Known], slots: Sequence[Slot]) -> asyncio.Future[int]:
        schedules, decided = list(known), list(slots)
        return self._writer.do(
            lambda db: sum(_restore(db, one) for one in schedules) + sum(_restore_slot(db, one) for one in decided)
        )

    def forget(self, keep: float, limit: int = 1000) -> asyncio.Future[int]:
        def forget(db: Connection) -> int:
            before = self._now() - keep
            db.all("schedule_forget", before, limit)
            gone = db.changes()
            db.all("schedule_unseen", before)
            return gone

        return self._writer.do(forget)


def _standing(db: Connection, line: Line) -> Standing | None:
    row = db.one("schedule_standing", line.name, line.node)
    return None if row is None else Standing(line, *cast("tuple[float, float | None, str | None]", row))


def _decide(db: Connection, tick: Tick, decider: str, now: float) -> Decided:
    line = tick.line
    if db.one("schedule_decided", line.name, line.node, tick.slot) is not None:
        return Decided(Fate.REPEATED)
    row = db.one("schedule_advance", line.name, line.node, tick.slot, now)
    if row is None:
        return Decided(Fate.REPEATED)
    paused, before = cast("tuple[float | None, str | None]", row)
    decided = _fate(db, tick, paused is not None, before, now)
    first = tick.slot if tick.first is None else tick.first
    db.all(
        "schedule_slot", line.name, line.node, tick.slot, first, tick.count, now, decided.fate, decided.job,
        decided.reason, decider,
    )  # fmt: skip
    if decided.fate is Fate.FIRED:
        db.all("schedule_job", line.name, line.node, decided.job)
    return decided


def _fate(db: Connection, tick: Tick, paused: bool, before: str | None, now: float) -> Decided:
    if paused:
        return Decided(Fate.PAUSED, before=before)
    if tick.submission is None:
        return Decided(tick.fate, before=before, reason=tick.reason)
    if tick.waiting is not None and tick.submission.key is not None:
        row = db.one("schedule_waiting", tick.submission.key)
        full = tick.full(cast(int, row[0]) if row else 0)
        if full is not None:
            return full
    (answer,) = submitting.submit(db, [tick.submission], now)
    if isinstance(answer, Submitted):
        return Decided(Fate.FIRED if answer.created else Fate.SKIPPED, answer.id, before)
    return Decided(Fate.REFUSED, before=before, reason=str(answer))


def _runs(db: Connection, line: Line, most: int) -> list[Run]:
    found = [cast("tuple[Any, ...]", row) for row in db.all("schedule_runs", line.name, line.node, most)]
    return [Run(slot_row(row[:SLOT]), None if row[SLOT] is None else rows.job(row[SLOT:])) for row in reversed(found)]


def _restore(db: Connection, known: Known) -> bool:
    standing = known.standing
    name, node = standing.line.name, standing.line.node
    db.all(
        "schedule_restore", name, node, standing.last, standing.paused, standing.job, known.fingerprint, known.seen
    )  # fmt: skip
    new = db.changes() > 0
    db.all("schedule_restore_last", name, node, standing.last)
    return new


def _restore_slot(db: Connection, slot: Slot) -> bool:
    db.all(
        "schedule_slot", slot.line.name, slot.line.node, slot.slot, slot.first, slot.count, slot.at, slot.fate,
        slot.job, slot.reason, slot.decider,
    )  # fmt: skip
    return db.changes() > 0
