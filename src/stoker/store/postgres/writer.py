"""The one session that writes, and its group commits.

    event loop                        writer
    ──────────                        ──────
    settle(a) ─┐
    submit(b) ─┼──► queue ──────────► take all that wait, by kind:
    settle(c) ─┘                      BEGIN  reports  settles: a, c  submits: b  claims  COMMIT
       futures ◄───────────────────── results, after the commit

Whatever comes in while one transaction is written shares the next, and all requests of a kind share a statement. A
group that is one statement needs no BEGIN. Requests with concurrency or unique keys, which wait for locks, and rare
ones (a cancel, a pause) have transactions of their own: what waits for a lock holds nothing that others need.

If a value cannot be stored, each request of the group is written by itself, so one bad request never harms the others.

A lost connection. What was not sent, or not committed for certain, is done again with the next connection. Where only
the server knew how a commit ended, the answer is found out: a submission by its id, an ending by its fence, a report by
the job's newest events. A claim is never done again: its caller gets an error, and what it may have taken runs out with
its lease, because nobody renews it. Nobody waits longer than ``PATIENCE`` seconds for a server that does not answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from stoker.model.errors import RequestError, StokerError, StoreUnavailable
from stoker.store.base import PATIENCE
from stoker.store.postgres import running, submitting
from stoker.store.postgres.clock import ServerClock
from stoker.store.postgres.errors import Trouble, translated, trouble
from stoker.store.postgres.session import Db, Session

STOP_WITHIN = 3.0
"""Seconds a server has to take what is left when this daemon stops."""
GROUP_MAX = 500
"""Requests in one transaction at most: bounds how long a stop, or the next in line, has to wait."""
ROWS_MAX = 5000
AGAIN_MAX = 5
"""How often a deadlock, or a plan that became invalid, is tried once more."""


class Kind(IntEnum):
    """What a request asks for, in the order in which a group is written."""

    REPORT = 0
    SETTLE = 1
    SUBMIT = 2
    KEYED = 3
    TOGETHER = 4
    OTHER = 5
    CLAIM = 6


HOT = frozenset({Kind.REPORT, Kind.SETTLE, Kind.SUBMIT})


class Request:
    """One call of the store. ``payload`` is a list of things to write; for a claim and for ``OTHER``, what to do."""

    __slots__ = ("born", "doubt", "future", "kind", "payload", "repeat", "value")

    def __init__(self, kind: Kind, payload: Any, future: asyncio.Future[Any], born: float, repeat: bool) -> None:
        self.kind = kind
        self.payload = payload
        self.future = future
        self.born = born
        self.repeat = repeat
        self.doubt = False
        """Whether an earlier try may have been committed."""
        self.value: Any = None

    @property
    def size(self) -> int:
        return len(self.payload) if isinstance(self.payload, list) else 1

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Writer:
    """A queue of requests and the task that writes them."""

    def __init__(self, session: Session, clock: ServerClock, patience: float = PATIENCE) -> None:
        self._session = session
        self._clock = clock
        self._patience = patience
        self._queue: deque[Request] = deque()
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connecting: asyncio.Task[Db] | None = None
        self._closing = False
        self._committing = False
        self._failure: StokerError | None = None
        """Why the connection was lost that was there last; None while all goes well."""
        self._silence = f"{session.address.text} does not answer; the daemon goes on trying"

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stoker-writer")

    async def stop(self) -> None:
        """Write what was asked for, if the server answers, then end."""
        self._closing = True
        self._some.set()
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=STOP_WITHIN)
            if late:
                # whoever needed an answer has waited for it before
                self._task.cancel()
                await asyncio.wait({self._task})
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        await self._session.close()

    def do(self, kind: Kind, payload: Any, *, repeat: bool = True) -> asyncio.Future[Any]:
        """Ask for something; the future is done when it is committed. ``repeat`` is whether an ``OTHER`` may be done
        again when it is not known whether it was done."""
        if self._task is None or self._closing:
            raise StoreUnavailable("the store is closed")
        self._session.check_process()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(Request(kind, payload, future, self._clock.mono(), repeat))
        self._some.set()
        return future

    async def _run(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._some.clear()
                await self._some.wait()
                continue
            for part in _parts(self._take()):
                await self._write(part)

    def _take(self) -> list[Request]:
        group: list[Request] = []
        rows = 0
        while self._queue and len(group) < GROUP_MAX and (not group or rows + self._queue[0].size <= ROWS_MAX):
            group.append(self._queue.popleft())
            rows += group[-1].size
        return group

    async def _write(self, part: list[Request]) -> None:
        """Write requests in one transaction, whatever it takes."""
        tries = 0
        while part := [request for request in part if not request.future.done()]:
            self._committing = False
            try:
                db = await self._reach(part)
                if db is None:
                    return
                await self._transact(db, part)
            except Exception as error:
                kind = trouble(error)
                tries += 1
                if kind is Trouble.LOST:
                    self._lost(part, error)
                    # what ends every connection it is tried on must not do so without a pause
                    await asyncio.sleep(min(1.0, 0.01 * 2**tries) if tries > 1 else 0)
                elif kind is Trouble.BAD and _divisible(part):
                    await self._one_by_one(part)
                    return
                elif kind is not Trouble.AGAIN or tries > AGAIN_MAX:
                    self._refuse(part, error)
                    return
            else:
                self._failure = None
                for request in part:
                    if not request.future.done():
                        request.future.set_result(request.value)
                return

    async def _reach(self, part: list[Request]) -> Db | None:
        """A connection; None when there was none within the patience of everybody in ``part``."""
        if self._session.up:
            return await self._session.db()
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._session.db())
        while not self._connecting.done():
            await asyncio.wait({self._connecting}, timeout=0.25)
            if not self._connecting.done():
                self._give_up([*part, *self._queue])
                if all(request.future.done() for request in part):
                    return None
        done, self._connecting = self._connecting, None
        return done.result()

    def _give_up(self, requests: Sequence[Request]) -> None:
        late = self._clock.mono() - self._patience
        for request in requests:
            if request.born <= late:
                # the last thing that went wrong says why, where anything was said
                why = self._session.failure or self._failure
                request.fail(type(why)(why.message) if why is not None else StoreUnavailable(self._silence))

    def _lost(self, part: list[Request], error: Exception) -> None:
        """The connection went away under these."""
        self._session.drop()
        failure = self._failure = translated(error, self._session.address)
        for request in part:
            if self._committing:
                request.doubt = True
                if request.kind is Kind.CLAIM or not request.repeat:
                    request.fail(failure)
        self._give_up(part)

    def _refuse(self, part: list[Request], error: Exception) -> None:
        failure = translated(error, self._session.address)
        for request in part:
            if request.kind in (Kind.SUBMIT, Kind.KEYED) and isinstance(failure, RequestError) and request.size == 1:
                request.future.set_result([failure])
            else:
                request.fail(type(failure)(failure.message))

    async def _one_by_one(self, part: list[Request]) -> None:
        """Something in there cannot be stored: each by itself, and each job of a submission too."""
        for request in part:
            if len(part) > 1 or request.kind not in (Kind.SUBMIT, Kind.KEYED):
                await self._write([request])
                continue
            singles = [
                Request(request.kind, [one], asyncio.get_running_loop().create_future(), request.born, request.repeat)
                for one in request.payload
            ]
            for single in singles:
                await self._write([single])
            answers = await asyncio.gather(*(single.future for single in singles), return_exceptions=True)
            trouble_of = next((answer for answer in answers if isinstance(answer, Exception)), None)
            if trouble_of is not None:
                request.fail(trouble_of)
            elif not request.future.done():
                request.future.set_result([answer for single in answers for answer in single])  # type: ignore[union-attr]

    async def _transact(self, db: Db, part: list[Request]) -> None:
        if not self._session.address.pooled and _is_one_statement(part):
            self._committing = True
            await self._work(db, part)
            return
        async with db.transaction(self._commits):
            await self._work(db, part)

    def _commits(self) -> None:
        self._committing = True

    async def _work(self, db: Db, part: list[Request]) -> None:
        """Every kind by its statement, in order."""
        of: dict[Kind, list[Request]] = {kind: [] for kind in Kind}
        for request in part:
            of[request.kind].append(request)
        ready = 0
        if of[Kind.REPORT]:
            await _report(db, of[Kind.REPORT])
        if of[Kind.SETTLE]:
            await _settle(db, of[Kind.SETTLE])
        if of[Kind.SUBMIT]:
            new = [one for request in of[Kind.SUBMIT] for one in request.payload]
            doubt = any(request.doubt for request in of[Kind.SUBMIT])
            answers, ready = await submitting.submit(db, new, self._clock.now(), wake=not of[Kind.CLAIM], doubt=doubt)
            _divide(of[Kind.SUBMIT], answers)
        if of[Kind.KEYED]:
            new = [one for request in of[Kind.KEYED] for one in request.payload]
            _divide(of[Kind.KEYED], await submitting.submit_keyed(db, new, self._clock.now(), together=False))
        for request in of[Kind.TOGETHER]:
            request.value = await submitting.submit_keyed(
                db, request.payload, self._clock.now(), together=True, doubt=request.doubt
            )
        for request in (*of[Kind.OTHER], *of[Kind.CLAIM]):
            request.value = await request.payload(db)
        if of[Kind.CLAIM] and ready > sum(len(request.value) for request in of[Kind.CLAIM]):
            await db.value("wake", "jobs")


async def _report(db: Db, requests: list[Request]) -> None:
    doubtful = [request for request in requests if request.doubt]
    if doubtful and await running.reported(db, [one for request in doubtful for one in request.payload]):
        for request in doubtful:
            request.value = [True] * len(request.payload)
        requests = [request for request in requests if not request.doubt]
    if requests:
        _divide(requests, await running.report(db, [one for request in requests for one in request.payload]))


async def _settle(db: Db, requests: list[Request]) -> None:
    _divide(requests, await running.settle(db, [one for request in requests for one in request.payload]))
    for request in requests:
        if request.doubt:
            there = await running.settled(db, request.payload)
            request.value = [now or before for now, before in zip(request.value, there, strict=True)]


def _divide(requests: list[Request], answers: list[Any]) -> None:
    """Give each request its own answers."""
    start = 0
    for request in requests:
        request.value = answers[start : start + len(request.payload)]
        start += len(request.payload)


def _parts(group: list[Request]) -> list[list[Request]]:
    """The transactions of a group. Whoever waits for locks of keys does it alone."""
    hot = [request for request in group if request.kind in HOT]
    claims = [request for request in group if request.kind is Kind.CLAIM]
    keyed = [request for request in group if request.kind is Kind.KEYED]
    alone = [[request] for request in group if request.kind in (Kind.TOGETHER, Kind.OTHER)]
    if not keyed and not alone:
        return [hot + claims]
    return [part for part in (hot, keyed, *alone, claims) if part]


def _is_one_statement(part: list[Request]) -> bool:
    if len(part) == 1 and part[0].kind is Kind.OTHER:
        return True
    kinds = {request.kind for request in part}
    if len(kinds) > 1 or kinds & {Kind.KEYED, Kind.TOGETHER, Kind.OTHER} or any(request.doubt for request in part):
        return False
    return kinds != {Kind.CLAIM} or len(part) == 1


def _divisible(part: list[Request]) -> bool:
    return len(part) > 1 or (part[0].kind in (Kind.SUBMIT, Kind.KEYED) and part[0].size > 1)
