"""The slots of this machine: which processes there are, and which job goes to which.

    fork       a consumer for each job, forked ahead: while one runs its job, the next is already there
    residents  workers that stay, of one product (:class:`Residents`), or those that all other products share
    inline     the zygote itself

At most ``consumers_max`` consumers run jobs at one time; a job claimed for a slot whose last process has not quite gone
waits here for that moment.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from stoker.model.clock import Clock
from stoker.model.command import CommandSpec, Isolation
from stoker.model.outcome import Blame, Fault, Lost, Outcome, Returned
from stoker.model.pool import PoolSpec
from stoker.router.jobs.attempt import Attempt, End
from stoker.router.pools.lanes import Lanes
from stoker.router.pools.resident import Resident, Turn
from stoker.router.pools.residents import Residents
from stoker.router.pools.workers import Consumer, Inline, Worker, cause
from stoker.router.pools.zygotes import Zygote
from stoker.settings import Current
from stoker.wire.frames import Announce, Born, Died, Fork, Unborn

log = structlog.get_logger(role="zygote")

MAX_TASKS = 5
"""Jobs at one time in a resident when nothing is said (003: `--max-tasks 5`)."""


class Pool:
    """Hands attempts to processes. ``on_frames`` gets what jobs say, ``on_lost`` the attempts whose process died."""

    def __init__(
        self,
        settings: Current,
        clock: Clock,
        on_frames: Callable[[list[Any]], None],
        on_lost: Callable[[Attempt, Outcome], None],
        on_room: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_frames = on_frames
        self._on_lost = on_lost
        self._on_room = on_room
        self._numbers = itertools.count(1)
        self._zygote: Zygote | None = None
        self._workers: dict[int, Worker] = {}
        self._spares: deque[Consumer] = deque()
        self._waiting: deque[Attempt] = deque()
        self._inline: dict[int, Attempt] = {}
        self._occupied = 0
        """Consumers that got a job and are not reaped yet."""
        self._residents: dict[str, Residents] = {}
        self._homes: dict[int, Residents] = {}
        """The residents that a worker is one of; also those of a zygote that retires."""
        self.by_product: Counter[str] = Counter()
        """Attempts in consumers, or on their way there."""
        self.lanes = Lanes(settings)
        self.fork_refused: str | None = None
        self.started = 0
        self.first: Callable[[str], None] = lambda product: None
        """Called with a product whose workers may have room, before its jobs get it."""

    @property
    def commands(self) -> dict[str, CommandSpec]:
        return self.lanes.commands

    @property
    def default(self) -> Isolation:
        return self.lanes.default

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
        for worker in self._spares:
            worker.release()
        self._spares.clear()
        if before is not None:
            before.retire()
        waiting = [attempt for residents in self._residents.values() for attempt in residents.close()]
        self.lanes.read(announce)
        self._residents = {}
        for spec in self.lanes.pools.values():
            if spec.most:
                self._lane_of(spec.product, spec).keep()
        for attempt in waiting:
            self._on_lost(attempt, Returned("the application was loaded anew", begun=False))
        self._match()
        self._on_room()

    def room(self, spec: CommandSpec) -> int:
        """How many more jobs of a command this node could start now."""
        if not self.ready or not self.lanes.pools[spec.product].enabled:
            return 0
        match self.lanes.of(spec):
            case "*fork":
                return self._settings().consumers_max - self.busy
            case "*inline":
                return 1
            case lane:
                return self._home(lane, spec).room

    def _home(self, lane: str, spec: CommandSpec) -> Residents:
        """The residents that a command runs in."""
        found = self._residents.get(lane)
        if found is not None:
            return found
        return self._lane_of(lane, self.lanes.spec(lane, spec))

    def _lane_of(self, lane: str, spec: PoolSpec) -> Residents:
        self._residents[lane] = Residents(
            spec,
            self._slots(spec),
            lambda: self._settings().kill_grace,
            self._fork_resident,
            self._on_lost,
            self._on_room,
        )
        self._residents[lane].first = lambda product: self.first(product)
        return self._residents[lane]

    def _slots(self, spec: PoolSpec) -> int:
        return 1 if spec.isolation is Isolation.PROCESS else spec.slots or self.resident_slots

    @property
    def resident_slots(self) -> int:
        return self._settings().max_tasks or MAX_TASKS

    @property
    def busy(self) -> int:
        """Consumers with a job that has not ended, and jobs about to get one."""
        return self.by_product.total()

    @property
    def running(self) -> list[Attempt]:
        """Every attempt that was handed over and has not ended."""
        held = [attempt for worker in self._workers.values() for attempt in worker.attempts.values()]
        waiting = [attempt for residents in self._residents.values() for attempt in residents.waiting]
        return [*held, *self._waiting, *waiting, *self._inline.values()]

    @property
    def workers(self) -> list[Worker]:
        return list(self._workers.values())

    @property
    def lingers(self) -> bool:
        """Whether workers that stay are still there: at their end they run the rest of their start hooks."""
        return bool(self._homes)

    @property
    def pools(self) -> list[Residents]:
        """All residents there are, those of products first."""
        return sorted(self._residents.values(), key=lambda one: (not one.spec.product, one.name))

    def direct(self, product: str) -> Resident | None:
        """The least busy live worker of a product's pool."""
        residents = self._residents.get(product)
        return None if residents is None else residents.least_busy()

    def set(self, product: str, given: Mapping[str, Any]) -> PoolSpec:
        """Change the limits of a product's pool until the next start. Raises ValueError."""
        spec = self.lanes.change(product, given)
        residents = self._residents.get(product)
        if residents is not None:
            residents.reshape(spec, self._slots(spec))
        elif spec.most:
            self._lane_of(product, spec).keep()
        self._on_room()
        return spec

    def why(self, spec: CommandSpec) -> str | None:
        """Why a command's lane takes nothing, if that is not because it is full."""
        if not self.lanes.pools[spec.product].enabled:
            return (
                f"the product {spec.product} is disabled; `stoker pools set {spec.product} enabled=true` lets it work"
            )
        residents = self._residents.get(self.lanes.of(spec))
        return None if residents is None else residents.why()

    def weigh(self) -> None:
        """Look at the memory of workers that are replaced for it."""
        for residents in self._residents.values():
            residents.weigh()

    def start(self, attempts: Sequence[Attempt]) -> None:
        """Run them: at once, or as soon as processes are there."""
        self.started += len(attempts)
        lanes: dict[str, list[Attempt]] = {}
        for attempt in attempts:
            lanes.setdefault(self.lanes.of(attempt.spec), []).append(attempt)
        for lane, some in lanes.items():
            match lane:
                case "*fork":
                    self.by_product.update(attempt.spec.product for attempt in some)
                    self._waiting.extend(some)
                    self._match()
                case "*inline":
                    for attempt in some:
                        self._start_inline(attempt)
                case _:
                    isolation = some[0].spec.isolated(self.default)
                    for attempt in some:
                        attempt.isolation = isolation
                    self._home(lane, some[0].spec).start(some)

    def _start_inline(self, attempt: Attempt) -> None:
        assert self._zygote is not None
        attempt.isolation = Isolation.INLINE
        self._inline[attempt.run] = attempt
        self._zygote.send(attempt.assign)
        attempt.begin(Inline(self._zygote), self._settings().kill_grace)

    def withdraw(self, attempt: Attempt) -> bool:
        """Take back an attempt that no process has got yet; False if one has."""
        if attempt.place is not None:
            return False
        for waiting in (self._waiting, *(residents.waiting for residents in self._residents.values())):
            if attempt in waiting:
                waiting.remove(attempt)
        return True

    def ended(self, ends: Sequence[End]) -> None:
        """Attempts have ended; their slots may be claimed for."""
        residents: dict[Resident, list[End]] = {}
        for end in ends:
            attempt = end.attempt
            if attempt.isolation is Isolation.FORK:
                self.by_product[attempt.spec.product] -= 1
            elif attempt.isolation is Isolation.INLINE:
                self._inline.pop(attempt.run, None)
            place = attempt.place
            worker = place.resident if isinstance(place, Turn) else place
            if isinstance(worker, Resident):
                if not worker.dead:
                    residents.setdefault(worker, []).append(end)
            elif isinstance(worker, Worker):
                worker.ended(attempt)
        for resident, some in residents.items():
            self._homes[resident.number].ended(resident, some)

    def frame(self, zygote: Zygote, frame: Any) -> None:
        """What a zygote says."""
        match frame:
            case Born():
                if frame.worker in self._workers:
                    self._workers[frame.worker].born(frame.pid)
            case Unborn():
                self._unborn(frame)
            case Died():
                worker = self._workers.get(frame.worker)
                if worker is not None:
                    alone = worker.alone or (isinstance(worker, Resident) and worker.single)
                    self._bury(worker, cause(frame.status, alone=alone))
            case _:
                self._on_frames([frame])

    def lost(self, zygote: Zygote) -> None:
        """A zygote is gone, and all its children with it."""
        if zygote is self._zygote:
            self._zygote = None
            self._spares.clear()
            for residents in self._residents.values():
                for attempt in residents.close():
                    self._on_lost(attempt, Returned("the zygote died", begun=False))
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
            number = next(self._numbers)
            consumer = Consumer(Fork(number, "fork", 1), self._zygote, self._on_frames, self._clock.wall)
            self._workers[number] = consumer
            self._spares.append(consumer)

    def release_all(self) -> None:
        """Nothing more will run: let the idle go."""
        for residents in self._residents.values():
            residents.close()
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

    def _fork_resident(self, residents: Residents, slots: int) -> Resident:
        assert self._zygote is not None
        number = next(self._numbers)
        order = Fork(number, residents.spec.isolation, slots, residents.spec.product)
        worker = Resident(order, self._zygote, self._on_frames, self._clock.wall, residents.is_ready)
        self._workers[number] = worker
        self._homes[number] = residents
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
            for residents in self._residents.values():
                residents.keep()
            self._on_room()

    def _bury(self, worker: Worker, found: Outcome) -> None:
        del self._workers[worker.number]
        if isinstance(worker, Resident):
            how = str(found.fault) if isinstance(found, Lost) else "it could not be made"
            counts = isinstance(found, Lost) and worker.zygote is self._zygote
            self._homes.pop(worker.number).died(worker, found, how, counts=counts)
            return
        if worker.used:
            self._occupied -= 1
        if isinstance(worker, Consumer) and worker in self._spares:
            self._spares.remove(worker)
        for attempt in worker.died():
            self._on_lost(attempt, attempt.fate(found))
        self._match()
        self._on_room()
