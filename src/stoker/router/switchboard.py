"""What the parts of a router say to each other: each knows only whom it calls, and what they call is here.

pool ──said, lost──► ┐                          ┌─► desk, dispatcher       what a process says goes on
claimer ──claimed──► ├─ Switchboard ── house ──►┼─► schedules, monitors    what begins and ends is noticed
desk ──written, room─┘                          └─► hub                    and who watches is told
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec

from stoker.model.errors import StokerError
from stoker.model.job import Claimed, State, Submission, Submitted
from stoker.model.outcome import Outcome
from stoker.model.stats import Sample
from stoker.router.house import House
from stoker.router.jobs.attempt import Attempt
from stoker.router.jobs.endings import Closed
from stoker.router.jobs.trust import Trust
from stoker.router.methods import jobs, table
from stoker.router.methods.acts import Asker
from stoker.router.pools.resident import Resident
from stoker.wire.frames import DIRECT, Answer, Ask
from stoker.wire.topics import JOBS, STATS


class Switchboard:
    """Between the parts; ``house`` is theirs, from the moment that all are there. ``idle`` is set when nothing runs any
    more."""

    house: House

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        self._asks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether anything runs here or is being written."""
        return self.house.desk.busy or self.house.dispatcher.busy

    def said(self, frames: list[Any]) -> None:
        """A process says something: of stored jobs, or of dispatched ones."""
        direct = [frame for frame in frames if frame.run >= DIRECT]
        self.house.dispatcher.frames(direct)
        self.house.desk.frames([frame for frame in frames if frame.run < DIRECT] if direct else frames)

    def lost(self, attempt: Attempt, outcome: Outcome) -> None:
        """The process of an attempt died."""
        if attempt.run >= DIRECT:
            self.house.dispatcher.end(attempt, outcome)
        else:
            self.house.desk.end([(attempt, outcome)])

    def claimed(self, jobs: list[Claimed], trust: Trust) -> None:
        """Jobs are ours to run."""
        house = self.house
        house.desk.begin(house.monitors.filled(house.schedules.ticker.filled(jobs)), trust)
        house.monitors.begun(jobs)
        if house.hub.pulses.wanted(JOBS):
            for job in jobs:
                house.hub.pulses.job(job.id, State.RUNNING, job.command, job.user)

    def room(self) -> None:
        """A slot came free, or a worker."""
        self.house.dispatcher.look_soon()
        self.house.claimer.room()

    def written(self, batch: list[Closed]) -> None:
        """Endings are in the store."""
        house = self.house
        again = any(one.ending.again for one in batch)
        if again:
            house.keeper.due()
        if again or any(one.job.key is not None for one in batch):
            house.claimer.wake()
        house.monitors.ended(batch)
        if house.hub.pulses.wanted(JOBS):
            for one in batch:
                house.hub.pulses.job(one.job.id, one.ending.state, one.job.command, one.job.user)
        if not self.busy:
            self.idle.set()

    def dispatched(self, attempt: Attempt, outcome: Outcome) -> None:
        """A dispatched job has ended."""
        self.house.tally.ended([(attempt, outcome)], self.house.clock.mono())

    def sampled(self, sample: Sample) -> None:
        """There are new figures."""
        self.house.figures.latest = sample
        if self.house.hub.pulses.wanted(STATS):
            self.house.hub.pulse(STATS, STATS, sample)

    def worker(self, worker: Resident, state: str, how: str | None) -> None:
        """A worker that stays has come into a state."""
        self.house.hub.pulses.worker(worker.pid, worker.product, str(worker.isolation), state, how)

    def look(self) -> None:
        """The daemon looks after itself."""
        self.house.schedules.look()
        self.house.monitors.look()

    async def store(self, submissions: list[Submission]) -> list[Submitted | Exception]:
        """The daemon itself submits jobs."""
        return await jobs.stored(self.house, submissions)

    async def cancel(self, job: str, reason: str) -> Any:
        """The daemon itself cancels a job."""
        return await jobs.cancel(self.house, "job", jobs.Cancel(job, reason))

    def asked(self, attempt: Attempt, ask: Ask) -> None:
        """A job asks on behalf of its user, with the rights of a job."""
        self._spawn(self._answer(attempt, ask))

    async def _answer(self, attempt: Attempt, ask: Ask) -> None:
        try:
            value = await table.answer(self.house, Asker("job"), ask.method, msgspec.Raw(ask.params), None)
            answer = Answer(ask.run, ask.ask, msgspec.json.encode(value), None)
        except StokerError as error:
            answer = Answer(ask.run, ask.ask, msgspec.json.encode(error.message), error.code)
        worker = attempt.place
        if worker is not None and not attempt.ended:
            worker.send(answer)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._asks.add(task)
        task.add_done_callback(self._asks.discard)

    async def stop(self) -> None:
        """Answer nothing more."""
        for task in list(self._asks):
            task.cancel()
        await asyncio.gather(*self._asks, return_exceptions=True)
