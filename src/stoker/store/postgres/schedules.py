"""Schedules on a server: a slot and its job in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from stoker.model.job import Submitted
from stoker.model.monitor import Run
from stoker.model.slot import Decided, Defined, Fate, Line, Slot, Standing, Tick
from stoker.store.postgres import rows, submitting
from stoker.store.postgres.rows import LAST
from stoker.store.postgres.session import Db, Readers
from stoker.store.schedules import Known, known_row, slot_row

Do = Callable[[Callable[[Db], Awaitable[Any]]], "asyncio.Future[Any]"]
SLOTS_MAX = 10_000
ENTERED_AT_ONCE = 5000


class PostgresSchedules:
    """See :class:`stoker.store.schedules.Schedules` for what each method guarantees."""

    def __init__(self, do: Do, readers: Readers, now: Callable[[], float]) -> None:
        self._do = do
        self._readers = readers
        self._now = now

    async def know(self, defined: Sequence[Defined]) -> list[Standing]:
        found: dict[Line, Standing] = {}
        for start in range(0, len(defined), ENTERED_AT_ONCE):
            part = defined[start : start + ENTERED_AT_ONCE]
            found.update(await self._do(lambda db, part=part: _enter(db, part)))  # type: ignore[misc]
        return [found[one.line] for one in defined]

    async def standings(self, lines: Sequence[Line]) -> list[Standing | None]:
        async def standings(db: Db) -> dict[Line, Standing]:
            names, nodes = [line.name for line in lines], [line.node for line in lines]
            return _by_line(await db.all("schedule_standings", names, nodes))

        found: dict[Line, Standing] = await self._readers.read(standings)
        return [found.get(line) for line in lines]

    def decide(self, ticks: Sequence[Tick], decider: str) -> asyncio.Future[list[Decided]]:
        wanted = list(ticks)

        async def decide(db: Db) -> list[Decided]:
            async with db.together():
                return await _decide(db, wanted, decider, self._now())

        return self._do(decide)

    def pause(self, name: str) -> asyncio.Future[bool]:
        async def pause(db: Db) -> bool:
            return bool(await db.all("schedule_pause", name))

        return self._do(pause)

    def resume(self, name: str) -> asyncio.Future[bool]:
        async def resume(db: Db) -> bool:
            return bool(await db.all("schedule_resume", name))

        return self._do(resume)

    async def slots(self, name: str | None, before: float | None, limit: int) -> list[Slot]:
        end, most = LAST if before is None else before, max(1, min(limit, SLOTS_MAX))

        async def slots(db: Db) -> list[Slot]:
            if name is None:
                return [slot_row(tuple(row)) for row in await db.all("schedule_slots", end, most)]
            return [slot_row(tuple(row)) for row in await db.all("schedule_slots_of", name, end, most)]

        found: list[Slot] = await self._readers.read(slots)
        return found

    async def runs(self, wanted: Sequence[tuple[Line, int]]) -> list[list[Run]]:
        async def runs(db: Db) -> list[Any]:
            names, nodes = [line.name for line, _ in wanted], [line.node for line, _ in wanted]
            return await db.all("schedule_runs", names, nodes, [most for _, most in wanted])

        found: list[list[Run]] = [[] for _ in wanted]
        for row in await self._readers.read(runs):
            found[row[0] - 1].append(_run(row))
        return found

    async def dump(self, after: Line | None, limit: int) -> list[Known]:
        name, node = (after.name, after.node) if after else ("", "")

        async def dump(db: Db) -> list[Known]:
            return [known_row(tuple(row)) for row in await db.all("schedule_dump", name, node, limit)]

        found: list[Known] = await self._readers.read(dump)
        return found

    async def dump_slots(self, after: Slot | None, limit: int) -> list[Slot]:
        place = (after.line.name, after.line.node, after.slot) if after else ("", "", 0.0)

        async def dump(db: Db) -> list[Slot]:
            return [slot_row(tuple(row)) for row in await db.all("schedule_dump_slots", *place, limit)]

        found: list[Slot] = await self._readers.read(dump)
        return found

    def restore(self, known: Sequence[Known], slots: Sequence[Slot]) -> asyncio.Future[int]:
        schedules, decided = list(known), list(slots)

        async def restore(db: Db) -> int:
            async with db.together():
                return await _restore(db, schedules) + await _restore_slots(db, decided)

        return self._do(restore)

    def forget(self, keep: float, limit: int = 1000) -> asyncio.Future[int]:
        async def forget(db: Db) -> int:
            return len(await db.all("schedule_forget", keep, limit))

        return self._do(forget)


def _run(row: Any) -> Run:
    slot = slot_row(tuple(row)[1:11])
    return Run(slot, None if row["seq"] is None else rows.job(row))


async def _restore(db: Db, known: Sequence[Known]) -> int:
    found = await db.all(
        "schedule_restore",
        [one.standing.line.name for one in known],
        [one.standing.line.node for one in known],
        [one.standing.last for one in known],
        [one.standing.paused for one in known],
        [one.standing.job for one in known],
        [one.fingerprint for one in known],
        [one.seen for one in known],
    )
    return sum(row[0] for row in found)


async def _restore_slots(db: Db, slots: Sequence[Slot]) -> int:
    found = await db.all(
        "schedule_restore_slots",
        [one.line.name for one in slots],
        [one.line.node for one in slots],
        [one.slot for one in slots],
        [one.first for one in slots],
        [one.count for one in slots],
        [one.at for one in slots],
        [one.fate for one in slots],
        [one.job for one in slots],
        [one.reason for one in slots],
        [one.decider for one in slots],
    )
    return len(found)


async def _enter(db: Db, defined: Sequence[Defined]) -> dict[Line, Standing]:
    names, nodes = [one.line.name for one in defined], [one.line.node for one in defined]
    return _by_line(await db.all("schedule_enter", names, nodes, [one.fingerprint for one in defined]))


def _by_line(rows: Sequence[Any]) -> dict[Line, Standing]:
    return {(line := Line(row[0], row[1])): Standing(line, *row[2:]) for row in rows}


async def _decide(db: Db, ticks: Sequence[Tick], decider: str, now: float) -> list[Decided]:
    answers: dict[int, Decided] = {}
    for part in _rounds(ticks):
        answers.update(await _decide_once(db, part, decider, now))
    return [answers[number] for number in range(len(ticks))]


def _rounds(ticks: Sequence[Tick]) -> Iterator[list[tuple[int, Tick]]]:
    """Several slots of one schedule one after the other, in their order."""
    left = list(enumerate(ticks))
    while left:
        first: dict[Line, tuple[int, Tick]] = {}
        for number, tick in left:
            first.setdefault(tick.line, (number, tick))
        yield list(first.values())
        taken = {number for number, _ in first.values()}
        left = [one for one in left if one[0] not in taken]


async def _decide_once(db: Db, part: Sequence[tuple[int, Tick]], decider: str, now: float) -> dict[int, Decided]:
    rows = await db.all(
        "schedule_advance", [tick.line.name for _, tick in part], [tick.line.node for _, tick in part],
        [tick.slot for _, tick in part],
    )  # fmt: skip
    taken = {Line(row[0], row[1]): (bool(row[2]), row[3]) for row in rows}
    full = await _full(db, [tick for _, tick in part if tick.line in taken and not taken[tick.line][0]])
    new = [
        (number, tick.submission)
        for number, tick in part
        if tick.submission is not None and tick.line in taken and not taken[tick.line][0] and tick.line not in full
    ]
    stored = await submitting.submit_keyed(db, [submission for _, submission in new], now, together=False)
    answers = dict(zip((number for number, _ in new), stored, strict=True))
    decided = {
        number: full.get(tick.line) or _fate(tick, *taken[tick.line], answers.get(number))
        for number, tick in part
        if tick.line in taken
    }
    await _record(db, [(tick, decided[number]) for number, tick in part if number in decided], decider)
    return {number: decided.get(number, Decided(Fate.REPEATED)) for number, _ in part}


async def _full(db: Db, ticks: Sequence[Tick]) -> dict[Line, Decided]:
    """What becomes of those for which too many wait already."""
    keys = {one.line: one.submission.key for one in ticks if one.waiting is not None and one.submission is not None}
    if not keys:
        return {}
    waiting = {row[0]: row[1] for row in await db.all("schedule_waiting", list(keys.values()))}
    found = {one.line: one.full(waiting.get(keys[one.line], 0)) for one in ticks if one.line in keys}
    return {line: decided for line, decided in found.items() if decided is not None}


def _fate(tick: Tick, paused: bool, before: str | None, answer: Submitted | Exception | None) -> Decided:
    if paused:
        return Decided(Fate.PAUSED, before=before)
    if isinstance(answer, Submitted):
        return Decided(Fate.FIRED if answer.created else Fate.SKIPPED, answer.id, before)
    if answer is not None:
        return Decided(Fate.REFUSED, before=before, reason=str(answer))
    return Decided(tick.fate, before=before, reason=tick.reason)


async def _record(db: Db, decided: Sequence[tuple[Tick, Decided]], decider: str) -> None:
    if decided:
        await db.all(
            "schedule_record",
            [tick.line.name for tick, _ in decided],
            [tick.line.node for tick, _ in decided],
            [tick.slot for tick, _ in decided],
            [tick.slot if tick.first is None else tick.first for tick, _ in decided],
            [tick.count for tick, _ in decided],
            [one.fate for _, one in decided],
            [one.job for _, one in decided],
            [one.reason for _, one in decided],
            decider,
        )
