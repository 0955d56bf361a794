"""The slots of this machine: which processes there are, and which job goes to which.

Consumers are forked ahead: while one runs its job, the next is already there. At most ``consumers_max`` run jobs at one
time; a job claimed for a slot whose last process has not quite gone waits here for that moment.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import structlog

from stoker.model.clock import Clock
from stoker.model.command import CommandSpec, Isolation
from stoker.model.outcome import Blame, Fault, Lost, Outcome, Returned
from stoker.router.attempt import Attempt
from stoker.router.workers import Worker, cause
from stoker.router.zygotes import Zygote
from stoker.settings import Current
from stoker.wire.frames import Announce, Born, Died, Interrupt, Unborn

log = structlog.get_logger(role="zygote")

RESIDENTS = (Isolation.ASYNC, Isolation.THREAD)
MAX_TASKS = 5
"""Jobs at one time in a resident when nothing is said (003: `--max-tasks 5`)."""


class Inline:
    """The zygote as a place to run: for commands that take no time."""

    alone = False

    def __init__(self, zygote: Zygote) -> None:
        self._zygote = zygote

    @property
    def pid(self) -> int | None:
        return self._zygote.pid

    def send(self, frame: Any) -> None:
        """An inline run asks nothing, so it is told nothing."""

    def poke(self, interrupt: Interrupt) -> None:
        """There is nothing to poke: it is over at once, or it hangs and the kill comes."""

    def kill(self, number: int) -> None:
        self._zygote.abort()

    def hush(self) -> None:
        """The control channel is always read."""

    def listen(self) -> None:
        """The control channel is always read."""


class Pool:
    """Hands attempts to processes. ``on_frame`` gets what jobs say, ``on_lost`` the attempts whose process died."""

    def __init__(
        self,
        settings: Current,
        clock: Clock,
        on_frame: Callable[[Any], None],
        on_lost: Callable[[Attempt, Outcome], None],
        on_room: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._on_room = on_room
        self._numbers = itertools.count(1)
        self._zygote: Zygote | None = None
        self._workers: dict[int, Worker] = {}
        self._spares: deque[Worker] = deque()
        self._waiting: deque[Attempt] = deque()
        self._inline: dict[int, Attempt] = {}
        self._held: Counter[Isolation] = Counter()
        """Attempts by the kind of slot they take."""
        self._occupied = 0
        """Consumers that got a job and are not reaped yet."""
        self._suspects: set[str] = set()
        self.commands: dict[str, CommandSpec] = {}
        self.fork_refused: str | None = None
        self.started = 0

    @property
    def default(self) -> Isolation:
        return Isolation.ASYNC if self._settings().max_tasks else Isolation.FORK

    @property
    def ready(self) -> bool:
        return self._zygote is not None and self.fork_refused is None

    @property
    def zygote(self) -> Zygote | None:
        return self._zygote

    def adopt(self, zygote: Zygote, announce: Announce) -> None:
        """Fork from this zygote from now on; what the one before still runs, it finishes."""
        before, self._zygote = self._zygote, zygote
        self.fork_refused = None
        self.commands = {spec.name: spec for spec in announce.commands}
        for worker in self._spares:
            worker.release()
        self._spares.clear()
        for worker in list(self._workers.values()):
            if not worker.alone and not worker.attempts:
                worker.release()
        if before is not None:
            before.retire()
        self._match()
        self._on_room()

    def room(self, spec: CommandSpec) -> int:
        """How many more jobs of a command this node could start now."""
        if not self.ready:
            return 0
        match spec.isolated(self.default):
            case Isolation.FORK:
                return self._settings().consumers_max - self.busy
            case Isolation.INLINE:
                return 1
            case isolation:
                return self.resident_slots - self._held[isolation]

    @property
    def resident_slots(self) -> int:
        return self._settings().max_tasks or MAX_TASKS

    @property
    def busy(self) -> int:
        """Consumers with a job that has not ended, and jobs about to get one."""
        return self._held[Isolation.FORK]

    @property
    def running(self) -> list[Attempt]:
        """Every attempt that was handed over and has not ended."""
        held = [attempt for worker in self._workers.values() for attempt in worker.attempts.values()]
        return [*held, *self._waiting, *self._inline.values()]

    @property
    def workers(self) -> list[Worker]:
        return list(self._workers.values())

    def start(self, attempt: Attempt) -> None:
        """Run it: at once, or as soon as the process before it has gone."""
        self.started += 1
        attempt.isolation = attempt.spec.isolated(self.default)
        self._held[attempt.isolation] += 1
        match attempt.isolation:
            case Isolation.FORK:
                self._waiting.append(attempt)
                self._match()
            case Isolation.INLINE:
                assert self._zygote is not None
                self._inline[attempt.run] = attempt
                self._zygote.send(attempt.assign)
                attempt.begin(Inline(self._zygote), self._settings().kill_grace)
            case isolation:
                self._resident(isolation, attempt.job.id).assign(attempt, self._settings().kill_grace)

    def withdraw(self, attempt: Attempt) -> bool:
        """Take back an attempt that no process has got yet; False if one has."""
        if attempt.place is not None:
            return False
        self._waiting.remove(attempt)
        return True

    def ended(self, attempt: Attempt) -> None:
        """The attempt has ended; its slot may be claimed for."""
        self._held[attempt.isolation] -= 1
        if isinstance(attempt.place, Worker):
            attempt.place.ended(attempt)
            if attempt.place.superfluous:
                attempt.place.release()
        self._inline.pop(attempt.run, None)

    def frame(self, zygote: Zygote, frame: Any) -> None:
        """What a zygote says."""
        match frame:
            case Born():
                if frame.worker in self._workers:
                    self._workers[frame.worker].born(frame.pid)
            case Unborn():
                self._unborn(frame)
            case Died():
                self._died(frame)
            case _:
                self._on_frame(frame)

    def lost(self, zygote: Zygote) -> None:
        """A zygote is gone, and all its children with it."""
        if zygote is self._zygote:
            self._zygote = None
            self._spares.clear()
            for attempt in list(self._inline.values()):
                self._inline.pop(attempt.run)
                self._on_lost(attempt, attempt.fate(Lost(Fault("Killed", "the zygote died"), Blame.HOUSE)))
        for worker in [w for w in self._workers.values() if w.zygote is zygote]:
            self._bury(worker, Lost(Fault("Killed", "the zygote died, and its processes with it"), Blame.HOUSE))

    def replenish(self) -> None:
        """Keep consumers forked ahead, but never more processes than may run jobs and wait for them."""
        if self._zygote is None or self.default is not Isolation.FORK:
            wanted = len(self._waiting)
        else:
            wanted = len(self._waiting) + self._settings().spares
        while self._zygote is not None and len(self._spares) < wanted and self.fork_refused is None:
            self._spares.append(self._fork("fork", 1))

    def release_all(self) -> None:
        """Nothing more will run: let the idle go."""
        for worker in list(self._workers.values()):
            if not worker.attempts:
                worker.release()
        self._spares.clear()

    def _match(self) -> None:
        limit = self._settings().consumers_max
        while self._waiting and self._occupied < limit:
            if not self._spares:
                self.replenish()
            if not self._spares:
                return
            self._occupied += 1
            self._spares.popleft().assign(self._waiting.popleft(), self._settings().kill_grace)
        self.replenish()

    def _resident(self, isolation: Isolation, job: str) -> Worker:
        if job in self._suspects:
            self._suspects.remove(job)
            worker = self._fork(isolation, 1)
            worker.single = True
            return worker
        for worker in self._workers.values():
            if worker.isolation == isolation and worker.room > 0:
                return worker
        return self._fork(isolation, self.resident_slots)

    def _fork(self, isolation: str, slots: int) -> Worker:
        assert self._zygote is not None
        number = next(self._numbers)
        worker = Worker(number, isolation, slots, self._zygote, self._on_frame, self._clock.wall)
        self._workers[number] = worker
        return worker

    def _unborn(self, frame: Unborn) -> None:
        worker = self._workers.get(frame.worker)
        if worker is None:
            return
        if self.fork_refused is None:
            log.error("no process could be made", reason=frame.message)
        self.fork_refused = frame.message
        self._bury(worker, Returned(frame.message, begun=False))

    def try_again(self) -> None:
        """Forks were refused; perhaps they are not any more."""
        if self.fork_refused is not None and self._zygote is not None:
            self.fork_refused = None
            self.replenish()
            self._on_room()

    def _died(self, frame: Died) -> None:
        worker = self._workers.get(frame.worker)
        if worker is not None:
            self._bury(worker, cause(frame.status, alone=worker.alone or worker.single))

    def _bury(self, worker: Worker, outcome: Outcome) -> None:
        del self._workers[worker.number]
        if worker.alone and worker.used:
            self._occupied -= 1
        if worker in self._spares:
            self._spares.remove(worker)
        left = [(attempt, attempt.fate(outcome)) for attempt in worker.died()]
        if not worker.alone and all(fate is outcome for _, fate in left):
            # one of them may be what kills a resident: each has its next attempt by itself, so that it tells
            self._suspects.update(attempt.job.id for attempt, _ in left)
        for attempt, fate in left:
            self._on_lost(attempt, fate)
        self._match()
        self._on_room()
