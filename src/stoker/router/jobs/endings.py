"""Endings of attempts on their way into the store, written as they come, many at a time.

    end(a) ─┐                                         ┌─► nudge a, b, c
    end(b) ─┼──► one turn of the loop ──► report, settle ─┴─► what follows from each
    end(c) ─┘                             room: claim again, in the same commit

What ends within one turn of the loop is one request to the store, and the claim for the slots that came free stands in
line right behind it: under load hundreds of jobs share one settle, one claim and one commit. An ending is never given
up: while the store cannot take it, it is tried again, and its attempt counts as ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from stoker import failpoint
from stoker.model.job import Claimed
from stoker.model.settle import Ending
from stoker.router.jobs.audience import Audience
from stoker.store.base import Held, Report, Settlement, Store

log = structlog.get_logger(role="consumer")

AGAIN = 1.0
"""Seconds until endings that the store could not take are tried again."""


class Closed(msgspec.Struct, frozen=True):
    """An attempt that has ended, with what it said and nobody has written yet."""

    job: Claimed
    ending: Ending
    report: Report | None


class Endings:
    """Writes what has ended. ``on_room`` is called once for the slots that came free, ``on_written`` with the endings
    that are in the store."""

    def __init__(
        self,
        store: Store,
        audience: Audience,
        on_room: Callable[[], None],
        on_written: Callable[[list[Closed]], None],
    ) -> None:
        self._store = store
        self._audience = audience
        self._on_room = on_room
        self._on_written = on_written
        self._batch: list[Closed] = []
        self._writing: dict[asyncio.Task[None], list[Closed]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._batch or self._writing)

    @property
    def held(self) -> list[Held]:
        """Attempts whose end is not written yet."""
        return [Held(one.job.seq, one.job.fence) for batch in self._unwritten for one in batch]

    def holds(self, job: Claimed) -> bool:
        """Whether this attempt's end is not written yet."""
        return any(one.job.seq == job.seq and one.job.fence == job.fence for batch in self._unwritten for one in batch)

    @property
    def _unwritten(self) -> list[list[Closed]]:
        return [self._batch, *self._writing.values()]

    def put(self, batch: list[Closed]) -> None:
        """Write these, with whatever else ends in this turn of the loop."""
        if not self._batch:
            asyncio.get_running_loop().call_soon(self._begin)
        self._batch += batch

    async def written(self) -> None:
        """Wait until every ending so far is in the store."""
        while self.busy:
            if self._writing:
                await asyncio.wait(self._writing.keys())
            else:
                await asyncio.sleep(0)

    def _begin(self) -> None:
        batch, self._batch = self._batch, []
        reports = [one.report for one in batch if one.report is not None]
        task = asyncio.get_running_loop().create_task(self._write(batch, reports, self._ask(batch, reports)))
        self._writing[task] = batch
        self._on_room()

    def _ask(self, batch: list[Closed], reports: list[Report]) -> asyncio.Future[list[list[bool] | BaseException]]:
        """Hand them to the store: what was said and how it ended share one commit, and the next claim's."""
        failpoint.hit("before-settle")
        settlements = [Settlement(one.job.seq, one.job.fence, one.ending, one.job.key) for one in batch]
        asked = [self._store.report(reports)] if reports else []
        return asyncio.gather(*asked, self._store.settle(settlements), return_exceptions=True)

    async def _write(
        self, batch: list[Closed], reports: list[Report], writing: asyncio.Future[list[list[bool] | BaseException]]
    ) -> None:
        while True:
            *said, taken = await writing
            if said and not isinstance(said[0], BaseException):
                reports = []  # written once; the endings may have to be tried again
            if not isinstance(taken, BaseException):
                break
            log.error("endings could not be written; trying again", jobs=len(batch), error=str(taken))
            await asyncio.sleep(AGAIN)
            writing = self._ask(batch, reports)
        if reports:
            log.error("what jobs said at their end is lost", jobs=len(reports), error=str(said[0]))
        failpoint.hit("after-settle")
        task = asyncio.current_task()
        assert task is not None
        del self._writing[task]
        if not all(taken):
            for one, ours in zip(batch, taken, strict=True):
                if not ours:
                    log.warning("a late ending was refused", job=one.job.id, fence=one.job.fence)
        self._audience.nudge(one.job.id for one in batch)
        self._on_written(batch)
