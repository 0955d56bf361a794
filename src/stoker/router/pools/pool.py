"""The slots of this machine: which processes there are, and which job goes to which.

fork       a consumer for each job (:class:`Consumers`)
residents  workers that stay, of one product (:class:`Residents`), or those that all other products share
inline     the zygote itself
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import structlog

from stoker.model.clock import Clock
from stoker.model.command import CommandSpec, Isolation
from stoker.model.outcome import Blame, Fault, Lost, Outcome, Returned
from stoker.model.pool import PoolSpec
from stoker.router.jobs.attempt import Attempt, End
from stoker.router.pools.consumers import Consumers
from stoker.router.pools.crew import Crew
from stoker.router.pools.lanes import FORK, INLINE, Lanes
from stoker.router.pools.resident import Resident, Turn
from stoker.router.pools.residents import Residents
from stoker.router.pools.succession import Succession
from stoker.router.pools.workers import Consumer, Inline, Worker
from stoker.router.pools.zygotes import Zygote
from stoker.settings import Current
from stoker.wire.frames import Announce

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
        self._on_lost = on_lost
        self._on_room = on_room
        self._zygote: Zygote | None = None
        self._coming: Succession | None = None
        self._inline: dict[int, Attempt] = {}
        self._residents: dict[str, Residents] = {}
        self.lanes = Lanes(settings)
        self.consumers = Consumers(settings, self._fork_consumer, self._ahead, on_lost, on_room)
        self._crew = Crew(clock, on_frames, lambda zygote: zygote in (self._zygote, self._heir))
        self.started = 0
        self.first: Callable[[str], None] = lambda product: None
        """Called with a product whose workers may have room, before its jobs get it."""

    def watch(self, on_state: Callable[[Resident, str, str | None], None]) -> None:
        """Have each transition of a worker that stays told: see :attr:`Crew.on_state`."""
        self._crew.on_state = on_state

    @property
    def commands(self) -> dict[str, CommandSpec]:
        return self.lanes.commands

    @property
    def default(self) -> Isolation:
        return self.lanes.default

    @property
    def fork_refused(self) -> str | None:
        """Why no process can be made, if that is so."""
        return None if self._zygote is None else self._zygote.refused

    @property
    def ready(self) -> bool:
        return self._zygote is not None and self.fork_refused is None

    @property
    def zygote(self) -> Zygote | None:
        return self._zygote

    @property
    def _heir(self) -> Zygote | None:
        return None if self._coming is None else self._coming.zygote

    async def prepare(self, zygote: Zygote, announce: Announce) -> None:
        """Have the workers made that a zygote's application asks for, while those before go on; until each pool whose
        workers live has a new one that takes jobs, or one that could not start. Raises :class:`AppError`."""
        pools = [spec for spec in self.lanes.ahead(announce).values() if spec.most]
        coming = {spec.product: self._make_residents(spec, zygote) for spec in pools}
        working = {product for product in coming if (old := self._residents.get(product)) is not None and old.live}
        for product, residents in coming.items():
            residents.keep(1 if product in working else 0)
        self._coming = Succession(zygote, coming, [coming[product] for product in working])
        if self._coming.waits_for:
            log.info("loaded anew; the workers before go on until these are ready", pools=self._coming.waits_for)
        await self._coming.ready()

    def adopt(self, zygote: Zygote, announce: Announce) -> None:
        """Fork from this zygote from now on, and give jobs to the workers that :meth:`prepare` made; what those before
        still run, they finish."""
        before, self._zygote = self._zygote, zygote
        coming, self._coming = self._coming, None
        old, self._residents = self._residents, {} if coming is None else coming.residents
        self.consumers.renew()
        if before is not None:
            before.retire()
        waiting = [attempt for residents in old.values() for attempt in residents.close()]
        self.lanes.read(announce)
        for spec in self.lanes.pools.values():
            residents = self._residents.get(spec.product)
            if residents is not None:
                residents.reshape(spec, self._slots(spec))
            elif spec.most:
                self._lane_of(spec.product, spec).keep()
        for attempt in waiting:
            self._on_lost(attempt, Returned("the application was loaded anew", begun=False))
        self.consumers.match()
        self._on_room()

    def room(self, spec: CommandSpec) -> int:
        """How many more jobs of a command this node could start now."""
        if not self.ready or not self.lanes.pools[spec.product].enabled:
            return 0
        lane = self.lanes.of(spec)
        if lane == FORK:
            return self.consumers.room
        return 1 if lane == INLINE else self._home(lane, spec).room

    def _home(self, lane: str, spec: CommandSpec) -> Residents:
        """The residents that a command runs in."""
        found = self._residents.get(lane)
        if found is not None:
            return found
        return self._lane_of(lane, self.lanes.spec(lane, spec))

    def _lane_of(self, lane: str, spec: PoolSpec) -> Residents:
        assert self._zygote is not None
        self._residents[lane] = self._make_residents(spec, self._zygote)
        return self._residents[lane]

    def _make_residents(self, spec: PoolSpec, zygote: Zygote) -> Residents:
        made = Residents(
            spec,
            self._slots(spec),
            lambda: self._settings().kill_grace,
            functools.partial(self._crew.resident, zygote),
            self._on_lost,
            self._on_room,
        )
        made.first = lambda product: self.first(product)
        return made

    def _slots(self, spec: PoolSpec) -> int:
        return 1 if spec.isolation is Isolation.PROCESS else spec.slots or self.resident_slots

    @property
    def resident_slots(self) -> int:
        return self._settings().max_tasks or MAX_TASKS

    @property
    def running(self) -> list[Attempt]:
        """Every attempt that was handed over and has not ended."""
        held = [attempt for worker in self._crew.workers for attempt in worker.attempts.values()]
        waiting = [attempt for residents in self._residents.values() for attempt in residents.waiting]
        return [*held, *self.consumers.waiting, *waiting, *self._inline.values()]

    @property
    def workers(self) -> list[Worker]:
        return self._crew.workers

    @property
    def residents(self) -> Iterator[Resident]:
        """The workers that stay, of the application as it is now."""
        return (worker for residents in self._residents.values() for worker in residents.workers)

    @property
    def lingers(self) -> bool:
        """Whether workers that stay are still there: at their end they run the rest of their start hooks."""
        return any(isinstance(worker, Resident) for worker in self._crew.workers)

    @property
    def pools(self) -> list[Residents]:
        """All residents there are, those of products first."""
        return sorted(self._residents.values(), key=lambda one: (not one.spec.product, one.name))

    def direct(self, product: str) -> Resident | None:
        """The least busy worker of a product's pool that has room."""
        residents = self._residents.get(product)
        return None if residents is None else residents.least_busy()

    def give(self, worker: Resident, attempt: Attempt) -> None:
        """Run it on this worker, which has room, before any that wait."""
        home = self._crew.home(worker)
        assert isinstance(home, Residents)
        home.give(worker, [attempt])

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

    def silence(self, job: str) -> str | None:
        """That the worker which runs this job does not answer, if it does not."""
        for worker in self._crew.workers:
            if isinstance(worker, Resident) and any(attempt.job.id == job for attempt in worker.attempts.values()):
                return worker.silence()
        return None

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
            if lane == FORK:
                self.consumers.start(some)
            elif lane == INLINE:
                for attempt in some:
                    self._start_inline(attempt)
            else:
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
        for waiting in (self.consumers.waiting, *(residents.waiting for residents in self._residents.values())):
            if attempt in waiting:
                waiting.remove(attempt)
        return True

    def ended(self, ends: Sequence[End]) -> None:
        """Attempts have ended; their slots may be claimed for."""
        residents: dict[Resident, list[End]] = {}
        for end in ends:
            attempt, _ = end
            if attempt.isolation is Isolation.FORK:
                self.consumers.ended(attempt)
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
            home = self._crew.home(resident)
            assert isinstance(home, Residents)
            home.ended(resident, some)

    def frame(self, frame: Any) -> None:
        """What a zygote says."""
        self._crew.frame(frame)

    def lost(self, zygote: Zygote) -> None:
        """A zygote is gone, and all its children with it."""
        if self._coming is not None and zygote is self._heir:
            self._coming.abandon()
            self._coming = None
        if zygote is self._zygote:
            if self._coming is not None:
                self._coming.hurry()
            self._zygote = None
            self.consumers.renew()
            for residents in self._residents.values():
                for attempt in residents.close():
                    self._on_lost(attempt, Returned("the zygote died", begun=False))
            for attempt in list(self._inline.values()):
                self._inline.pop(attempt.run)
                self._on_lost(attempt, attempt.fate(Lost(Fault("Killed", "the zygote died"), Blame.HOUSE)))
        self._crew.lost(zygote)

    def release_all(self) -> None:
        """Nothing more will run: let the idle go."""
        if self._coming is not None:
            self._coming.abandon()
        for residents in self._residents.values():
            residents.close()
        for worker in self._crew.workers:
            if not worker.attempts:
                worker.release()
        self.consumers.renew()

    def _fork_consumer(self) -> Consumer | None:
        return self._crew.consumer(self._zygote, self.consumers)

    def _ahead(self) -> int:
        """How many consumers are to be there without a job: none where jobs share residents."""
        return self._settings().spares if self.default is Isolation.FORK else 0

    def try_again(self) -> None:
        """Forks were refused; perhaps they are not any more."""
        if self._zygote is not None and self._zygote.refused is not None:
            self._zygote.refused = None
            self.consumers.replenish()
            for residents in self._residents.values():
                residents.resume()
            self._on_room()
