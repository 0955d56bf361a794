"""Every process that zygotes made for jobs, from the order to make it until it is reaped."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from stoker.model.clock import Clock
from stoker.model.outcome import Blame, Fault, Lost, Outcome, Returned
from stoker.router.pools.record import worker_state
from stoker.router.pools.resident import Resident
from stoker.router.pools.residents import Residents
from stoker.router.pools.workers import Consumer, Worker, cause
from stoker.router.pools.zygotes import Zygote
from stoker.run import process
from stoker.wire.frames import Born, Died, Fork, Unborn

log = structlog.get_logger(role="zygote")
ZYGOTE_DIED = Lost(Fault("Killed", "the zygote died, and its processes with it"), Blame.HOUSE)


class Home(Protocol):
    """Whom a process belongs to."""

    def died(self, worker: Any, found: Outcome, how: str, *, counts: bool = True) -> None:
        """It is gone; ``how`` in words. ``counts`` is False when it did not die by itself."""


class Crew:
    """``on_frames`` gets what jobs say; ``is_ours`` tells whether a zygote's children are expected to live."""

    def __init__(self, clock: Clock, on_frames: Callable[[list[Any]], None], is_ours: Callable[[Zygote], bool]) -> None:
        self._clock = clock
        self._on_frames = on_frames
        self._is_ours = is_ours
        self._numbers = itertools.count(1)
        self._homes: dict[int, Home] = {}
        self._workers: dict[int, Worker] = {}
        self._states: dict[int, str] = {}
        """What was told last of each resident."""
        self.on_state: Callable[[Resident, str, str | None], None] = lambda worker, state, how: None
        """Called with each transition of a resident that has a process, in order: ``starting``, ``ready``, ``leaving``,
        and ``died``, then with how."""

    @property
    def workers(self) -> list[Worker]:
        return list(self._workers.values())

    def home(self, worker: Worker) -> Home:
        """Whose it is; also of a zygote that retires."""
        return self._homes[worker.number]

    def consumer(self, zygote: Zygote | None, home: Home) -> Consumer | None:
        """A new one; None while nothing can be forked."""
        if zygote is None or zygote.refused is not None:
            return None
        order = Fork(next(self._numbers), "fork", 1)
        worker = Consumer(order, zygote, self._on_frames, self._clock.wall)
        self._workers[order.worker], self._homes[order.worker] = worker, home
        return worker

    def resident(self, zygote: Zygote, home: Residents, slots: int) -> Resident | None:
        """The same for one that stays."""
        if zygote.refused is not None:
            return None
        order = Fork(next(self._numbers), home.spec.isolation, slots, home.spec.product)
        ready = functools.partial(self._ready, home)
        worker = Resident(order, zygote, self._on_frames, self._clock.wall, ready)
        worker.on_leaving = functools.partial(self._tell, worker)
        self._workers[order.worker], self._homes[order.worker] = worker, home
        return worker

    def frame(self, frame: Any) -> None:
        """What a zygote says."""
        match frame:
            case Born():
                born = self._workers.get(frame.worker)
                if born is not None:
                    born.born(frame.pid)
                    self._tell(born)
            case Unborn():
                self._unborn(frame)
            case Died():
                worker = self._workers.get(frame.worker)
                if worker is not None:
                    alone = worker.alone or (isinstance(worker, Resident) and worker.single)
                    how = process.ending(os.waitstatus_to_exitcode(frame.status))
                    self._bury(worker, cause(frame.status, alone=alone), how)
            case _:
                self._on_frames([frame])

    def lost(self, zygote: Zygote) -> None:
        """A zygote is gone, and all its children with it."""
        for worker in [worker for worker in self._workers.values() if worker.zygote is zygote]:
            self._bury(worker, ZYGOTE_DIED, ZYGOTE_DIED.fault.message)

    def _unborn(self, frame: Unborn) -> None:
        worker = self._workers.get(frame.worker)
        if worker is None:
            return
        if worker.zygote.refused is None:
            log.error("no process could be made", reason=frame.message)
        worker.zygote.refused = frame.message
        self._bury(worker, Returned(frame.message, begun=False), "it could not be made")

    def _bury(self, worker: Worker, found: Outcome, how: str) -> None:
        del self._workers[worker.number]
        counts = isinstance(found, Lost) and self._is_ours(worker.zygote)
        self._homes.pop(worker.number).died(worker, found, how, counts=counts)
        if self._states.pop(worker.number, None) is not None and isinstance(worker, Resident):
            self.on_state(worker, "died", worker.problem or worker.ending(how))

    def _ready(self, home: Residents, worker: Resident) -> None:
        self._tell(worker)
        home.is_ready(worker)  # also of one that is being buried: it said so, and died

    def _tell(self, worker: Worker) -> None:
        """Tell of a resident's state, if it is another than before."""
        if not isinstance(worker, Resident) or worker.pid is None or worker.dead:
            return
        state, before = worker_state(worker), self._states.get(worker.number)
        self._states[worker.number] = state
        if before is None and state != "starting":
            self.on_state(worker, "starting", None)  # it was ready before the zygote told of its birth
        if state != before:
            self.on_state(worker, state, None)
