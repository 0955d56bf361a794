"""A resident: one process, many jobs, and what stays warm in between.

    process  one job at a time in the main thread (:mod:`.resident_process`)
    async    each job is a task on the one event loop; plain functions run in threads beside it
    thread   each job is a thread; coroutines get a loop of their own there

Where many jobs share the process, a job that must be killed costs the resident: the router replaces it and settles what
it held. Soft interrupts stay with the job: a task is cancelled, a thread gets an exception at its next bytecode.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import setproctitle

from stoker.model.command import Isolation
from stoker.model.errors import StokerError
from stoker.model.interrupt import Interrupted
from stoker.run import consumer, environ, joblog, process
from stoker.run.dispatched import Carrier
from stoker.run.executor import ENDS_A_PROCESS, MESSAGE_MAX, Run, execute, execute_async, outcome_of
from stoker.run.line import unpack
from stoker.run.page import Page
from stoker.run.preload import Application, Watched
from stoker.run.resident_process import ProcessResident
from stoker.run.stopping import cancel_task, interruption, raise_in_thread
from stoker.run.telemetry import Doctor, Selector, Waiting
from stoker.run.warm import Warmth
from stoker.wire.channel import Channel
from stoker.wire.frames import Answer, Ask, Assign, Ended, Fork, Interrupt, Ready


class ThreadLine:
    """The line of a run that is a thread: it waits for its answers without holding up the others."""

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel = channel
        self._number = number
        self._numbers = itertools.count(1)
        # what is raised into a thread may come at its every step: no more than plain locks and queues of C here, which
        # are never left half done
        self._lock = threading.Lock()
        self._answers: dict[int, queue.SimpleQueue[Answer | None]] = {}
        self._thread = 0
        self._run: Run | None = None
        self._early: Interrupted | None = None

    def send(self, frame: Any) -> None:
        self._channel.send(frame)

    def ask(self, method: str, params: bytes) -> bytes:
        number = next(self._numbers)
        answers = self._answers[number] = queue.SimpleQueue()
        try:
            self._channel.send(Ask(self._number, number, method, params))
            while (answer := answers.get()) is None:  # woken to be interrupted: that is raised here
                self._give_up()
            return unpack(answer)
        finally:
            self._answers.pop(number, None)

    async def aask(self, method: str, params: bytes) -> bytes:
        return await asyncio.to_thread(self.ask, method, params)

    def _give_up(self) -> None:
        """The handler is to stop. It is told; another thread in which it asks, a coroutine's, would be waited for."""
        if threading.get_ident() != self._thread and self._early is not None:
            raise type(self._early)(self._early.reason)

    def begin(self, run: Run) -> None:
        """The handler is next, in this thread: from now on it can be interrupted, and is if it was to be before."""
        run.on_leave = self.end
        with self._lock:
            self._thread, self._run = threading.get_ident(), run
            early = self._early
        if early is not None:
            raise early

    def end(self) -> None:
        """What comes now comes too late; the thread may be another run's."""
        with self._lock:
            self._thread, self._run = 0, None

    def interrupt(self, frame: Interrupt) -> None:
        error = interruption(frame)
        with self._lock:
            self._early = error
            run = self._run
            if run is None:
                return
            run.interrupted = error
            task = run.task
            if task is None:
                raise_in_thread(self._thread, error)
        if task is not None:
            cancel_task(task.get_loop(), task)
        for answers in list(self._answers.values()):
            answers.put(None)

    def answered(self, answer: Answer) -> None:
        answers = self._answers.get(answer.ask)
        if answers is not None:
            answers.put(answer)


class Threads:
    """Runs as threads."""

    def __init__(self, channel: Channel, watched: Watched, warmth: Warmth, slots: int, result_max: int) -> None:
        self._channel = channel
        self._watched = watched
        self._warmth = warmth
        self._result_max = result_max
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="job")
        self._runs: dict[int, ThreadLine] = {}

    def __contains__(self, run: int) -> bool:
        return run in self._runs

    def __len__(self) -> int:
        return len(self._runs)

    def hear(self, frame: Any) -> None:
        """A frame about one of these runs, or a new one."""
        match frame:
            case Assign():
                self._watched.came()
                line = self._runs[frame.run] = ThreadLine(self._channel, frame.run)
                self._pool.submit(self._one, frame, line)
            # it may end at this very moment
            case Answer() if (asking := self._runs.get(frame.run)) is not None:
                asking.answered(frame)
            case Interrupt() if (running := self._runs.get(frame.run)) is not None:
                running.interrupt(frame)

    def _one(self, assign: Assign, line: ThreadLine) -> None:
        run = Run(assign, line, self._result_max)
        run.warmth = self._warmth
        joblog.belongs_to(run.context)
        try:
            try:
                execute(run, self._watched.current, functools.partial(line.begin, run))
            except ENDS_A_PROCESS as error:
                run.outcome = outcome_of(error, run)
            line.end()
        except Interrupted as late:
            # in the moment after its end: what it has come to counts
            line.end()
            run.outcome = run.outcome or outcome_of(late, run)
        consumer.flush()
        del self._runs[assign.run]
        self._channel.send(run.ended)


class ThreadResident:
    """Jobs as threads."""

    def __init__(self, channel: Channel, watched: Watched, warmth: Warmth, slots: int, result_max: int) -> None:
        self._channel = channel
        self._threads = Threads(channel, watched, warmth, slots, result_max)
        self._doctor = Doctor(channel, lambda: len(self._threads))

    def serve(self) -> None:
        """Until the router closes the channel."""
        while (frame := self._channel.receive()) is not None:
            if isinstance(frame, Assign):
                self._threads.hear(frame)
            elif not isinstance(frame, Answer | Interrupt):
                self._doctor.hear(frame)
            elif frame.run in self._threads:
                self._threads.hear(frame)


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
    """Jobs as tasks of one loop; plain functions as threads beside it."""

    def __init__(
        self, channel: Channel, watched: Watched, warmth: Warmth, slots: int, result_max: int, waiting: Waiting
    ) -> None:
        self._channel = channel
        self._watched = watched
        self._warmth = warmth
        self._result_max = result_max
        self._threads = Threads(channel, watched, warmth, slots, result_max)
        self._runs: dict[int, tuple[asyncio.Task[None], TaskLine, Run]] = {}
        self._ended: list[Ended] = []
        self._doctor = Doctor(channel, lambda: len(self._runs) + len(self._threads), waiting)

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
            case Assign() if self._is_plain(frame.command):
                self._threads.hear(frame)
            case Assign():
                self._watched.came()
                line = TaskLine(self._channel, frame.run)
                run = Run(frame, line, self._result_max)
                run.warmth = self._warmth
                self._runs[frame.run] = (asyncio.create_task(self._one(run)), line, run)
            case Answer() if frame.run in self._runs:
                self._runs[frame.run][1].answered(frame)
            case Interrupt() if frame.run in self._runs:
                task, _, run = self._runs[frame.run]
                run.interrupted = interruption(frame)
                # after its first step: a task that is cancelled before never runs, and would never end
                asyncio.get_running_loop().call_soon(task.cancel)
            case Answer() | Interrupt():
                if frame.run in self._threads:
                    self._threads.hear(frame)
            case _:
                self._doctor.hear(frame)

    def _is_plain(self, name: str) -> bool:
        command = self._watched.commands.get(name)
        return command is not None and not command.spec.is_async

    async def _one(self, run: Run) -> None:
        joblog.belongs_to(run.context)
        try:
            await execute_async(run, self._watched.current)
        except ENDS_A_PROCESS as error:
            run.outcome = outcome_of(error, run)
        del self._runs[run.assign.run]
        # what ends in one turn of the loop is told with one write
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._tell)
        self._ended.append(run.ended)

    def _tell(self) -> None:
        consumer.flush()
        ended, self._ended = self._ended, []
        self._channel.send_all(ended)


def main(application: Application, prefix: str, result_max: int, order: Fork, page: Page) -> None:
    """The life of a resident. Never returns."""
    kind = f"{order.isolation} {order.product}".strip()
    setproctitle.setproctitle(f"{prefix}-resident {kind} {order.slots}")
    process.become_subreaper()
    consumer.reseed()
    joblog.share_output()
    signal.signal(consumer.POKE, signal.SIG_IGN)
    channel = Carrier(process.channel())
    warmth = Warmth()
    if order.isolation != Isolation.PROCESS:
        environ.install()
    if order.isolation == Isolation.ASYNC:
        selector = Selector()
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
            runner.run(_serve_async(application, channel, warmth, order, result_max, selector.waiting))
    elif _ready(channel, lambda: _warm_up(application, warmth, order.product)):
        if order.isolation == Isolation.PROCESS:
            ProcessResident(channel, Watched(application), page, warmth, result_max).serve()
        else:
            ThreadResident(channel, Watched(application), warmth, order.slots, result_max).serve()
        warmth.close()
    consumer.leave()


async def _serve_async(
    application: Application, channel: Channel, warmth: Warmth, order: Fork, result_max: int, waiting: Waiting
) -> None:
    home = application.home(order.product)
    hook = None if home is None else home.start_hook()
    try:
        if home is not None and hook is not None:
            await warmth.avalue(home, hook)
    except (Exception, SystemExit) as error:
        return _unfit(channel, error)
    channel.send(Ready(os.getpid()))
    await AsyncResident(channel, Watched(application), warmth, order.slots, result_max, waiting).serve()
    return await warmth.aclose()


def _warm_up(application: Application, warmth: Warmth, product: str) -> None:
    home = application.home(product)
    hook = None if home is None else home.start_hook()
    if home is not None and hook is not None:
        warmth.value(home, hook)


def _ready(channel: Channel, prepare: Callable[[], None]) -> bool:
    """Run the start hook and say how that went."""
    try:
        prepare()
    except (Exception, SystemExit) as error:
        _unfit(channel, error)
        return False
    channel.send(Ready(os.getpid()))
    return True


def _unfit(channel: Channel, error: Exception | SystemExit) -> None:
    channel.send(Ready(os.getpid(), f"its start hook failed: {type(error).__name__}: {error}"[:MESSAGE_MAX]))
