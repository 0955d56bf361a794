"""One dispatched job in the router, and what its end is for whoever asked."""

from __future__ import annotations

import asyncio
import string
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from stoker.model import ids
from stoker.model.command import CommandSpec
from stoker.model.errors import (
    DispatchTimeout,
    HandlerFailed,
    InvalidBuffer,
    InvalidInput,
    JobCancelled,
    NotBegun,
    NoWorker,
    StokerError,
    WorkerLost,
)
from stoker.model.job import Claimed, Overrides
from stoker.model.outcome import Cancelled, Done, Failed, Fault, Lost, Outcome, Retry, Returned, Snoozed
from stoker.router.jobs.attempt import Attempt
from stoker.router.pools.resident import Resident
from stoker.wire.frames import Assign
from stoker.wire.messages import Dispatch, JobResult

CODES = {
    "InvalidInput": InvalidInput.code,
    "InvalidBuffer": InvalidBuffer.code,
    "TimeLimit": DispatchTimeout.code,
    "AppError": NoWorker.code,
    "UnknownCommand": NoWorker.code,
}
"""What the fault of a run means to whoever dispatched it; of any other kind it is the handler's own."""


class Asker(Protocol):
    """Who dispatched, and hears how it ended."""

    def answer(self, result: JobResult, fds: Sequence[int]) -> None:
        """The descriptors are given away."""


class Direct(Attempt):
    """One dispatched job on its way: an attempt like any other, but that its end goes to whoever asked."""

    def __init__(
        self,
        run: int,
        order: Dispatch,
        spec: CommandSpec,
        asker: Asker,
        fds: Sequence[int],
        max_output: int,
        now: float,
    ) -> None:
        super().__init__(
            run, _claimed(order, spec), spec, memory=None, max_output=max_output, born=now, on_said=lambda _: None
        )
        self.order = order
        self.asker: Asker | None = asker
        self._fds = fds
        self.worker: Resident | None = None
        self.deadline: asyncio.TimerHandle | None = None

    @property
    def assign(self) -> Assign:
        return msgspec.structs.replace(super().assign, buffers=self.order.buffers)

    @property
    def held(self) -> int:
        """Descriptors that wait here with it."""
        return len(self._fds)

    def take_fds(self) -> Sequence[int]:
        fds, self._fds = self._fds, ()
        return fds


def _claimed(order: Dispatch, spec: CommandSpec) -> Claimed:
    """What a claimed job would be. The ids of jobs that its handler submits come from its own; where that may be
    anybody's, a number is added that is nobody else's."""
    try:
        id = ids.job_id(str(order.job_id))
    except StokerError:
        id = ids.new_job_id()
    own = len(id) == 32 and all(sign in string.hexdigits for sign in id)
    return Claimed(
        0, id, spec.name, bytes(order.payload), 1, 0, None, (), Overrides(trace=order.trace), time.time(),
        round=0 if own else time.time_ns(),
    )  # fmt: skip


def result(direct: Direct, outcome: Outcome, buffers: tuple[int, ...]) -> JobResult:
    pid = direct.place.pid if direct.place is not None else None
    id = direct.order.job_id
    match outcome:
        case Done():
            return JobResult(id, result=msgspec.Raw(outcome.output), by="worker", worker=pid, buffers=buffers)
        case Retry(fault) | Failed(fault):
            return _failed(direct, fault, pid)
        case Lost(fault) if fault.type == "SystemExit":
            return _failed(direct, fault, pid)
        case Cancelled(reason):
            return JobResult(id, error=reason, code=JobCancelled.code, by="worker", worker=pid)
        case Snoozed():
            return _failed(direct, Fault("Snooze", "a dispatched job is not stored, so it cannot be put off"), pid)
        case Lost(fault):
            error = f"the worker died over it: {fault}"
            return JobResult(id, error=error, code=WorkerLost.code, by="worker", worker=pid)
        case Returned(begun=False):
            return JobResult(id, error="its worker ended before it began", code=NotBegun.code)
    return JobResult(id, error="the worker was lost with it", code=WorkerLost.code, by="worker", worker=pid)


def _failed(direct: Direct, fault: Fault, pid: int | None) -> JobResult:
    code = CODES.get(fault.type, HandlerFailed.code)
    return JobResult(
        direct.order.job_id, error=fault.message, code=code, kind=fault.type, by="worker", worker=pid
    )  # fmt: skip
