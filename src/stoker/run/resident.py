"""A resident: one process, many jobs at a time, for commands that mostly wait.

    async    each job is a task on the one event loop
    thread   each job is a thread of its own pool; coroutines get a loop of their own there

Many jobs share the process, so a job that must be killed costs the resident: the router replaces it and settles what it
held. Soft interrupts stay with the job: a task is cancelled, a thread gets an exception at its next bytecode.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import setproctitle

from stoker.model.errors import StokerError
from stoker.model.interrupt import CancelRequested, TimeLimitExceeded
from stoker.run import consumer, environ, joblog, process
from stoker.run.executor import Run, execute, execute_async
from stoker.run.line import unpack
from stoker.run.preload import Application
from stoker.wire.channel import Channel
from stoker.wire.frames import TO_RUNNER, Answer, Ask, Assign, Ended, Interrupt


class TaskLine:
    """The line of a run that is a task: answers resolve futures, so the loop is never held up."""

    def __init__(self, channel: Channel, run: int) -> None:
        self._channel = channel
        self._run = run
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}

    def send(self, frame: Any) -> None:
        self._channel.send(frame)

    def ask(self, method: str, params: bytes) -> bytes:
        raise StokerError("a coroutine in a resident must not block its loop: await ctx.aask(…) or ctx.asubmit(…)")

    async def aask(self, method: str, params: bytes) -> bytes:
        number = next(self._numbers)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._channel.send(Ask(self._run, number, method, params))
        try:
            return unpack(await future)
        finally:
            del self._waiting[number]

    def answered(self, answer: Answer) -> None:
        future = self._waiting.get(answer.ask)
        if future is not None and not future.done():
            future.set_result(answer)


class AsyncResident:
    """Jobs as tasks."""

    def __init__(self, channel: Channel, application: Application, result_max: int) -> None:
        self._channel = channel
        self._application = application
        self._result_max = result_max
        self._runs: dict[int, tuple[asyncio.Task[None], TaskLine, Run]] = {}
        self._ended: list[Ended] = []

    async def serve(self) -> None:
        """Until the router closes the channel."""
        gone = asyncio.Event()

        def read() -> None:
            for frame in self._channel.waiting():
                self._sort(frame)
            if self._channel.closed:
                gone.set()

        asyncio.get_running_loop().add_reader(self._channel.fileno(), read)
        await gone.wait()

    def _sort(self, frame: Any) -> None:
        match frame:
            case Assign():
                line = TaskLine(self._channel, frame.run)
                run = Run(frame, line, self._result_max)
                self._runs[frame.run] = (asyncio.create_task(self._one(run)), line, run)
            case Answer() if frame.run in self._runs:
                self._runs[frame.run][1].answered(frame)
            case Interrupt() if frame.run in self._runs:
                task, _, run = self._runs[frame.run]
                run.interrupted = frame
                task.cancel()

    async def _one(self, run: Run) -> None:
        joblog.belongs_to(run.context)
        await execute_async(run, self._application.current)
        del self._runs[run.assign.run]
        # what ends in one turn of the loop is told with one write
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._tell)
        self._ended.append(run.ended)

    def _tell(self) -> None:
        consumer.flush()
        ended, self._ended = self._ended, []
        self._channel.send_all(ended)


class ThreadLine:
    """The line of a run that is a thread: it waits for its answers without holding up the others."""

    def __init__(self, channel: Channel, run: int) -> None:
        self._channel = channel
        self._run = run
        self._numbers = itertools.count(1)
        self._arrived = threading.Condition()
        self._answers: dict[int, Answer] = {}
        self.thread = 0

    def send(self, frame: Any) -> None:
        self._channel.send(frame)

    def ask(self, method: str, params: bytes) -> bytes:
        number = next(self._numbers)
        self._channel.send(Ask(self._run, number, method, params))
        with self._arrived:
            self._arrived.wait_for(lambda: number in self._answers)
            return unpack(self._answers.pop(number))

    async def aask(self, method: str, params: bytes) -> bytes:
        return await asyncio.to_thread(self.ask, method, params)

    def answered(self, answer: Answer) -> None:
        with self._arrived:
            self._answers[answer.ask] = answer
            self._arrived.notify_all()


class ThreadResident:
    """Jobs as threads."""

    def __init__(self, channel: Channel, application: Application, slots: int, result_max: int) -> None:
        self._channel = channel
        self._application = application
        self._result_max = result_max
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="job")
        self._runs: dict[int, ThreadLine] = {}

    def serve(self) -> None:
        """Until the router closes the channel."""
        while (frame := self._channel.receive()) is not None:
            match frame:
                case Assign():
                    line = self._runs[frame.run] = ThreadLine(self._channel, frame.run)
                    self._pool.submit(self._one, frame, line)
                case Answer() if frame.run in self._runs:
                    self._runs[frame.run].answered(frame)
                case Interrupt() if frame.run in self._runs:
                    kind = TimeLimitExceeded if frame.kind == "timeout" else CancelRequested
                    raise_in_thread(self._runs[frame.run].thread, kind, frame.reason)

    def _one(self, assign: Assign, line: ThreadLine) -> None:
        line.thread = threading.get_ident()
        run = Run(assign, line, self._result_max)
        joblog.belongs_to(run.context)
        execute(run, self._application.current)
        consumer.flush()
        del self._runs[assign.run]
        self._channel.send(run.ended)


def raise_in_thread(thread: int, kind: type[TimeLimitExceeded | CancelRequested], reason: str) -> None:
    """Raise at the thread's next bytecode. CPython takes a class, so the reason rides in a subclass."""

    def __init__(self: Any) -> None:
        kind.__init__(self, reason)

    raised = type(kind.__name__, (kind,), {"__init__": __init__})
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(raised))


def main(application: Application, prefix: str, result_max: int, isolation: str, slots: int) -> None:
    """The life of a resident. Never returns."""
    setproctitle.setproctitle(f"{prefix}-resident {isolation} {slots}")
    process.become_subreaper()
    consumer.reseed()
    environ.install()
    joblog.share_output()
    signal.signal(consumer.POKE, signal.SIG_IGN)
    channel = Channel(process.channel(), TO_RUNNER)
    if isolation == "async":
        asyncio.run(AsyncResident(channel, application, result_max).serve())
    else:
        ThreadResident(channel, application, slots, result_max).serve()
    consumer.leave()
