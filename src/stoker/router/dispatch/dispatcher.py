"""Direct dispatch: a job handed to a worker that lives, answered when it is done, never stored.

    client ══ line + descriptors ══► take ──► a resident with room ──► end ══ answer + descriptors ══► client
                                      │             ▲
                                      └─ waits ─────┘ while all are busy

Memory files pass through unmapped: their descriptors are sent on and closed here. Whoever asked keeps one of each until
the answer, so nothing is lost when a worker dies; it is told so, and decides what happens then.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog

from stoker.model.clock import Clock
from stoker.model.command import CommandSpec, Isolation
from stoker.model.errors import (
    DispatchTimeout,
    HandlerFailed,
    NoWorker,
    ProtocolError,
    StokerError,
)
from stoker.model.outcome import Failed, Fault, Outcome
from stoker.model.quantities import show_seconds
from stoker.model.request import Request
from stoker.router.dispatch.direct import Asker, Direct, result
from stoker.router.jobs.admission import Admission
from stoker.router.jobs.attempt import Attempt
from stoker.router.pools.pool import Pool
from stoker.router.pools.resident import Resident
from stoker.settings import Current
from stoker.wire import memfd
from stoker.wire.board import Board, beside
from stoker.wire.frames import DIRECT, Ask, Ended
from stoker.wire.messages import Dispatch, JobResult, Pong
from stoker.wire.rights import close_all

log = structlog.get_logger(role="router")

HELD_SHARE = 4
"""Descriptors of dispatches that wait may be one in so many of those this process may have."""


class Dispatcher:
    """All dispatches of this daemon. ``on_ask`` gets what their handlers ask."""

    def __init__(
        self, settings: Current, clock: Clock, pool: Pool, admission: Admission,
        on_ask: Callable[[Attempt, Ask], None],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._clock = clock
        self._pool = pool
        self._admission = admission
        self._board: Board | None = None
        self._on_ask = on_ask
        self._numbers = itertools.count(DIRECT)
        self._runs: dict[int, Direct] = {}
        self._asked: dict[Asker, dict[int | str, Direct]] = {}
        """What somebody waits for, by jobId."""
        self._waiting: dict[str, deque[Direct]] = {}
        self._leaving = False
        self._looking = False
        self.counts: Counter[tuple[str, str]] = Counter()
        """Dispatches that ended, by command and by how."""
        self.on_ended: Callable[[Attempt, Outcome], None] = lambda attempt, outcome: None
        """Called with each that has ended."""

    def open(self) -> None:
        """Begin to say beside the socket which workers live. Where that cannot be written, nobody finds any, and every
        dispatch runs inline."""
        place = beside(self._settings().socket)
        try:
            self._board = Board(place)
        except OSError as error:
            log.warning(
                "no board of live workers: every dispatch will run inline", path=str(place), error=error.strerror
            )

    @property
    def busy(self) -> bool:
        return bool(self._runs or self._waiting)

    def under_way(self, asker: Asker) -> int:
        """How many dispatches of somebody have not ended."""
        return len(self._asked.get(asker, ()))

    def pong(self, product: str | None) -> Pong:
        """What the workers of a product (of all, for None) have in hand, stored jobs among it."""
        if product is None:
            return Pong(sum(worker.active for worker in self._residents()))
        mine = [worker for worker in self._residents() if worker.product == product]
        waiting = len(self._waiting.get(product, ()))
        return Pong(sum(worker.active for worker in mine), product, len(mine), waiting)

    # ── what clients ask ─────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, order: Dispatch, fds: Sequence[int], role: str, asker: Asker) -> None:
        """Hand a job to a worker, now or as soon as one has room; answered in any case."""
        try:
            direct = self._admit(order, fds, role, asker)
        except StokerError as error:
            close_all(fds)
            asker.answer(JobResult(order.job_id, error=error.message, code=error.code), ())
            return
        if order.timeout is not None:
            direct.deadline = asyncio.get_running_loop().call_later(order.timeout, self._late, direct)
        self._asked.setdefault(asker, {})[order.job_id] = direct
        self._place(direct)

    def recall(self, asker: Asker, job_id: int | str) -> None:
        """Nobody waits for it any more: it is stopped."""
        direct = self._asked.get(asker, {}).get(job_id)
        if direct is not None:
            self._abandon(direct, "the caller does not wait for it any more")

    def forget(self, asker: Asker) -> None:
        """Somebody is gone, and what was done for them is stopped."""
        for direct in list(self._asked.get(asker, {}).values()):
            self._abandon(direct, "the caller is gone")

    # ── what workers say, and what becomes of them ───────────────────────────────────────────────────────────────────

    def frames(self, frames: Sequence[Any]) -> None:
        """What processes of dispatched jobs say; what is meant for a job's record is kept nowhere."""
        for frame in frames:
            direct = self._runs.get(frame.run)
            if isinstance(frame, Ask) and direct is not None:
                self._on_ask(direct, frame)
            elif isinstance(frame, Ended) and direct is not None:
                self._ended(direct, frame)

    def end(self, direct: Attempt, outcome: Outcome, buffers: tuple[int, ...] = (), fds: Sequence[int] = ()) -> None:
        """It has ended, whoever says so; only the first word counts."""
        if not isinstance(direct, Direct) or not direct.finish():
            close_all(fds)
            return
        del self._runs[direct.run]
        self._pool.ended([(direct, outcome)])
        answer = result(direct, outcome, buffers)
        self.counts[direct.job.command, answer.code or "done"] += 1
        self.on_ended(direct, outcome)
        self._tell(direct, answer, fds)
        self.room()

    def room(self) -> None:
        """Any worker may have room."""
        for product in list(self._waiting):
            self.serve(product)

    def serve(self, product: str) -> None:
        """Workers of a product may have room; who waits here comes before jobs that wait in the store."""
        while (waiting := self._waiting.get(product)) and (worker := self._pool.direct(product)) is not None:
            direct = waiting.popleft()
            if not waiting:
                del self._waiting[product]
            self._hand_over(direct, worker)

    def look_soon(self) -> None:
        """Workers came or went: the board says so before the loop goes to sleep, and who waits for none is told."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def leave(self) -> None:
        """The daemon stops: nothing more is taken."""
        self._leaving = True
        self._look()

    def close(self) -> None:
        """Let go of everything; whoever waits hears that the line breaks."""
        for waiting in self._waiting.values():
            for direct in waiting:
                close_all(direct.take_fds())
        self._waiting.clear()
        if self._board is not None:
            self._board.close()

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _admit(self, order: Dispatch, fds: Sequence[int], role: str, asker: Asker) -> Direct:
        for fd, size in zip(fds, order.buffers, strict=True):
            memfd.check(fd, size)
        spec = self._admission.spec(f"{order.product}.{order.action}")
        request = Request(command=spec.name, input=order.payload, checked=order.checked, trace=order.trace)
        self._admission.admit(request, role, self._clock.wall())
        if order.job_id in self._asked.get(asker, ()):
            raise ProtocolError(f"the jobId {order.job_id!r} is in use; give each dispatch one of its own")
        if order.timeout is not None and not order.timeout > 0:
            raise ProtocolError("timeout: must be more than 0; leave it out for no limit")
        self._check_place(order, spec, len(fds))
        return Direct(
            next(self._numbers), order, spec, asker, fds, self._settings().max_output, self._clock.mono()
        )  # fmt: skip

    def _check_place(self, order: Dispatch, spec: CommandSpec, count: int) -> None:
        if self._leaving or not self._pool.ready:
            raise NoWorker(f"no worker of {order.product} takes anything: the daemon stops or has no application")
        if self._pool.lanes.of(spec) != order.product:
            raise NoWorker(f"{spec.name} does not run in the workers of its product, but as {spec.isolation or 'fork'}")
        if self._live(order.product) == 0:
            raise NoWorker(f"no worker of {order.product} lives")
        held = sum(direct.held for waiting in self._waiting.values() for direct in waiting)
        if held + count > resource.getrlimit(resource.RLIMIT_NOFILE)[0] // HELD_SHARE:
            raise NoWorker(f"all workers of {order.product} are busy, and too many buffers wait for them")

    def _ended(self, direct: Direct, frame: Ended) -> None:
        assert direct.worker is not None
        direct.started, direct.seconds = frame.started, frame.seconds
        try:
            fds = direct.worker.take_fds(len(frame.buffers))
        except ValueError as error:
            self.end(direct, Failed(Fault("InvalidBuffer", f"the worker did not send what it announced: {error}")))
        else:
            self.end(direct, frame.outcome, frame.buffers, fds)

    def _place(self, direct: Direct) -> None:
        product = direct.order.product
        worker = None if product in self._waiting else self._pool.direct(product)
        if worker is None:
            self._waiting.setdefault(product, deque()).append(direct)
        else:
            self._hand_over(direct, worker)

    def _hand_over(self, direct: Direct, worker: Resident) -> None:
        self._runs[direct.run] = direct
        direct.worker, direct.isolation = worker, Isolation(worker.isolation)
        self._pool.give(worker, direct)

    def _late(self, direct: Direct) -> None:
        """The caller's time is over; a handler that goes on is stopped, and not waited for."""
        assert direct.order.timeout is not None
        reason = f"not done within {show_seconds(direct.order.timeout)}"
        self._tell(direct, JobResult(direct.order.job_id, error=reason, code=DispatchTimeout.code), ())
        self._abandon(direct, reason)

    def _abandon(self, direct: Direct, reason: str) -> None:
        self._unasked(direct)
        if direct.run in self._runs:
            direct.cancelled(reason, self._settings().kill_grace)
            return
        waiting = self._waiting.get(direct.order.product)
        if waiting is not None and direct in waiting:  # else it is being told that nobody takes it
            waiting.remove(direct)
            if not waiting:
                del self._waiting[direct.order.product]
        close_all(direct.take_fds())

    def _tell(self, direct: Direct, answer: JobResult, fds: Sequence[int]) -> None:
        asker = self._unasked(direct)
        if asker is None:
            close_all(fds)
            return
        if not direct.order.detailed:
            plain = answer.code in (None, HandlerFailed.code)
            answer = JobResult(
                answer.job_id, answer.result, answer.error, None if plain else answer.code, buffers=answer.buffers
            )
        asker.answer(answer, fds)

    def _unasked(self, direct: Direct) -> Asker | None:
        """Nobody waits for it from now on; who did."""
        asker, direct.asker = direct.asker, None
        if direct.deadline is not None:
            direct.deadline.cancel()
        if asker is not None:
            mine = self._asked[asker]
            del mine[direct.order.job_id]
            if not mine:
                del self._asked[asker]
        return asker

    def _look(self) -> None:
        self._looking = False
        live = Counter(worker.product for worker in self._residents() if worker.product and not self._leaving)
        if self._board is not None:
            self._board.say(live)
        self.room()
        for product in [product for product in self._waiting if not live[product]]:
            for direct in self._waiting.pop(product, ()):  # whoever is told may turn out to be gone, with all it asked
                close_all(direct.take_fds())
                error = f"no worker of {product} lives any more"
                self._tell(direct, JobResult(direct.order.job_id, error=error, code=NoWorker.code), ())

    def _live(self, product: str) -> int:
        return sum(1 for worker in self._residents() if worker.product == product)

    def _residents(self) -> Iterator[Resident]:
        return (worker for worker in self._pool.residents if worker.takes and not worker.single)
