"""A store of its own for one test, and everything that submits goes there instead of to a daemon."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import msgspec

from stoker import settings as settings_module
from stoker.client import default, offline
from stoker.model import ids, settle
from stoker.model.clock import FakeClock
from stoker.model.command import Command
from stoker.model.errors import StokerError, UnknownMethod
from stoker.model.event import EventKind, NewEvent
from stoker.model.job import Claimed, Submitted
from stoker.model.product import Catalog
from stoker.model.request import Request
from stoker.router.jobs.admission import Admission
from stoker.run import executor
from stoker.run.executor import Run
from stoker.store.address import store_at
from stoker.store.base import Filter, Quota, Report, Settlement
from stoker.testing.clients import AsyncBenchClient, BenchClient
from stoker.testing.inline import RESULT_MAX, Asked, Push, Recorder, listening
from stoker.wire.frames import Assign
from stoker.wire.records import Delivery, JobRecord, event_record, job_record

T = TypeVar("T")
OWNER = "workbench"
LEASE = 10 * 365 * 86400.0
RUNS_MAX = 10_000
"""Runs of one drain at most: a job that submits itself again must not keep a test for ever."""


class Workbench:
    """``with Workbench() as bench``: whatever is submitted within lands in ``bench``, and runs when it is drained.

    ``commands`` are products or commands that may be submitted by name, or by a job; what the test submits itself is
    known by that. ``store`` is a SQLite file to work on instead of a fresh one; no daemon may run on it. A job that is
    waited for (``call``, ``result``, ``stream``) runs at that moment, and the clock goes on as far as that takes.
    """

    def __init__(
        self, *commands: Catalog | Command[..., Any], clock: FakeClock | None = None, store: Path | str | None = None
    ) -> None:
        self.clock = clock or FakeClock()
        self.submitted: list[Asked] = []
        self.pushed: list[Push] = []
        """What was pushed to people."""
        self._commands: dict[str, Command[..., Any]] = {}
        self._file = store
        self._exits = contextlib.ExitStack()
        for given in commands:
            self.learn(given if isinstance(given, Catalog) else (given,))

    def __enter__(self) -> Workbench:
        with contextlib.ExitStack() as exits:
            folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="stoker-")))
            flags = {"root": str(folder), "store": None if self._file is None else str(Path(self._file).absolute())}
            self.settings = settings_module.load(flags, environ={}, cwd=folder)
            exits.enter_context(offline.held(self.settings.store_path))
            self._loop = exits.enter_context(Loop())
            self._store = store_at(self.settings.store, self.clock)
            self._do(self._store.open)
            exits.callback(self._do, self._store.close)
            self._admission = Admission(
                lambda: {name: command.spec for name, command in self._commands.items()},
                settings_module.Current(self.settings),
            )
            self.client = BenchClient(self)
            self.async_client = AsyncBenchClient(self)
            exits.enter_context(mock.patch.object(default, "client", return_value=self.client))
            exits.enter_context(mock.patch.object(default, "async_client", return_value=self.async_client))
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def learn(self, commands: Catalog | Sequence[Command[..., Any]]) -> None:
        """Know these commands from now on."""
        self._commands.update({command.name: command for command in commands})

    def drain(self, *, future: bool = False) -> list[JobRecord]:
        """Run every job that is due, also those submitted meanwhile; the jobs in the order of their runs, as they are
        afterwards. With ``future`` the clock goes on to the next due moment until nothing is left to run."""
        ran: list[str] = []
        while (job := self._next(future, ran)) is not None:
            self._perform(job)
        return [self.job(id) for id in dict.fromkeys(ran)]

    async def adrain(self, *, future: bool = False) -> list[JobRecord]:
        """The same, with coroutines run on the loop that runs."""
        ran: list[str] = []
        while (job := self._next(future, ran)) is not None:
            await self._aperform(job)
        return [self.job(id) for id in dict.fromkeys(ran)]

    def job(self, id: str) -> JobRecord:
        """A job as it is now. Raises UnknownJob."""
        return job_record(self._do(lambda: self._store.get(ids.job_id(id))))

    def jobs(self, **filter: Any) -> list[JobRecord]:
        """Jobs, newest first; see :meth:`stoker.Client.jobs`."""
        return self.client.jobs(**{"limit": 1000, **filter})

    # ── what a daemon would do ───────────────────────────────────────────────────────────────────────────────────────

    def submit(self, request: Request, role: str = "script") -> Submitted:
        """Store a job. Raises a RequestError as the daemon would."""
        return self.submit_all([request], role)[0]

    def submit_all(self, requests: Sequence[Request], role: str = "script") -> list[Submitted]:
        """Store jobs, all or none. Raises the first RequestError."""
        now = self.clock.wall()
        submissions = [self._admission.admit(request, role, now) for request in requests]
        taken = []
        for answer in self._do(lambda: self._store.submit(submissions, together=True)):
            if isinstance(answer, Exception):
                raise answer
            taken.append(answer)
        self.submitted += [Asked.of(request) for request in requests]
        return taken

    def answer(self, method: str, params: Mapping[str, Any]) -> Any:
        """What the daemon would answer to a method that looks at jobs or changes them."""
        id = ids.job_id(str(params.get("job", "none")))
        match method:
            case "ping":
                return "pong"
            case "submit_many":
                return self.submit_all(params["jobs"])
            case "job" | "wait":
                return self.job(id)
            case "jobs":
                filter = {("state" if name == "status" else name): value for name, value in params.items()}
                found = self._do(lambda: self._store.jobs(msgspec.convert(filter, Filter)))
                return [job_record(job) for job in found]
            case "events":
                after, limit = params.get("after", 0), params.get("limit", 1000)
                return [event_record(event) for event in self._do(lambda: self._store.events(id, after, limit))]
            case "cancel":
                return job_record(self._do(lambda: self._store.cancel(id, str(params.get("reason", "cancelled")))))
            case "retry":
                return job_record(self._do(lambda: self._store.retry(id)))
            case "send_to_all" | "notify_now":
                self.pushed.append(Push.of(method, params))
                return Delivery(len(self.pushed), 0)
        raise UnknownMethod(f"a workbench does not answer {method!r}; it needs a daemon")

    def run_until_ended(self, id: str, seconds: float | None) -> None:
        """Run jobs until this one has ended, or so many seconds of the clock have passed; none for 0 seconds."""
        end = None if seconds is None else self.clock.wall() + seconds
        while (job := self._before(id, end)) is not None:
            self._perform(job)

    async def arun_until_ended(self, id: str, seconds: float | None) -> None:
        """The same, with coroutines run on the loop that runs."""
        end = None if seconds is None else self.clock.wall() + seconds
        while (job := self._before(id, end)) is not None:
            await self._aperform(job)

    def _before(self, id: str, end: float | None) -> Claimed | None:
        """The next job on the way to the end of this one; None when it has ended or the time is over."""
        if self.job(id).ended or (end is not None and end <= self.clock.wall()):
            return None
        job = self._next(True, [], end)
        if job is None:
            if end is None:
                found = self.job(id)
                raise StokerError(f"{found.name} {id} is {found.status}, nothing is due, so waiting would not end")
            self.clock.advance(end - self.clock.wall())
        return job

    def _next(self, future: bool, ran: list[str], end: float | None = None) -> Claimed | None:
        """Claim the next job that may run; noted in ``ran``."""
        if len(ran) >= RUNS_MAX:
            raise StokerError(f"{RUNS_MAX} runs and no end: a job that submits itself again?")
        while True:
            self._do(self._store.expire)
            coming = self._do(self._store.promote)
            claimed = self._do(self._claim)
            if claimed:
                ran.append(claimed[0].id)
                return claimed[0]
            if not future or coming is None or (end is not None and coming > end):
                return None
            self.clock.advance(max(0.0, coming - self.clock.wall()))

    def _claim(self) -> Awaitable[list[Claimed]]:
        """One job. Rates are left out: they would only move the clock."""
        quotas = [Quota(name, 1, command.spec.concurrency) for name, command in self._commands.items()]
        return self._store.claim(OWNER, LEASE, quotas, 1)

    def _perform(self, job: Claimed) -> None:
        recorder, run = self._run(job)
        with listening(run):
            if self._commands[job.command].spec.is_async and _loop_runs():
                # two loops cannot share a thread; the one here stands still until the other is done
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(copy_context().run, executor.execute, run, lambda: self._commands).result()
            else:
                executor.execute(run, lambda: self._commands)
        self._settle(job, run, recorder)

    async def _aperform(self, job: Claimed) -> None:
        recorder, run = self._run(job)
        with listening(run):
            if self._commands[job.command].spec.is_async:
                await executor.execute_async(run, lambda: self._commands)
            else:
                executor.execute(run, lambda: self._commands)
        self._settle(job, run, recorder)

    def _run(self, job: Claimed) -> tuple[Recorder, Run]:
        def ask(method: str, params: bytes) -> Any:
            if method == "submit":
                return self.submit(msgspec.json.decode(params, type=Request), "job")
            return self.answer(method, msgspec.json.decode(params))

        recorder = Recorder(ask)
        assign = Assign(
            1, job.id, job.command, job.input, job.attempt, job.fence, job.user, job.tags, None, None, 0
        )  # fmt: skip
        return recorder, Run(assign, recorder, RESULT_MAX)

    def _settle(self, job: Claimed, run: Run, recorder: Recorder) -> None:
        assert run.outcome is not None
        now = self.clock.wall()
        events = tuple(NewEvent(kind, now, msgspec.json.encode(value)) for kind, value in recorder.said)
        progress = recorder.of(EventKind.PROGRESS)
        cancel = self._do(lambda: self._store.get(job.id)).cancel
        spec = self._commands[job.command].spec
        ending = settle.after(job, run.outcome, spec, now=now, chance=0.0, cancel=cancel)
        self._do(lambda: self._store.report([Report(job.seq, job.fence, events, progress[-1] if progress else None)]))
        self._do(lambda: self._store.settle([Settlement(job.seq, job.fence, ending, job.key)]))

    def _do(self, call: Callable[[], Awaitable[T]]) -> T:
        return self._loop.do(call)


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Loop:
    """An event loop in a thread of its own, for the store: so that it serves code with a loop and code without."""

    def __enter__(self) -> Loop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stoker-workbench", daemon=True)
        self._thread.start()
        return self

    def do(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call there, and wait for what comes of it."""

        async def work() -> T:
            return await call()

        return asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def drain(
    store: Path | str, *commands: Catalog | Command[..., Any], clock: FakeClock | None = None, future: bool = False
) -> list[JobRecord]:
    """Run every job that is due in a store on disk, here and now, by the handlers of these products or commands; the
    jobs as they are afterwards. Raises AlreadyRunning while a daemon works on it."""
    with Workbench(*commands, store=store, clock=clock or FakeClock(time.time())) as bench:
        return bench.drain(future=future)
