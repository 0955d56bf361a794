"""A resident of the kind ``process``: one job at a time in its main thread, and the state that stays warm in between.

    router ── Assign, Assign, Assign ──► queue ──► begin ──► handler ──► end ──┐
                                                    │                          │
    router ◄── page: the run it is at ──────────────┘      Ended, Ended ◄──────┘

The router sends a few jobs ahead when they are fast, so that the pipe is never empty, and their ends go back several in
one write. An interrupt is announced by a signal and raised into the handler right there, as in a consumer; one for a
job that has not begun takes it out of the queue. What waits behind a long job the router takes back through the page.
"""

from __future__ import annotations

import resource
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from stoker.model.interrupt import DaemonGone, Interrupted
from stoker.model.outcome import Returned
from stoker.run import joblog, process
from stoker.run.consumer import NOBODY, POKE, SoloLine
from stoker.run.executor import Run, execute, outcome_of
from stoker.run.page import Page
from stoker.run.preload import Watched
from stoker.run.telemetry import Doctor, Waiting
from stoker.run.warm import Warmth
from stoker.wire.channel import Channel
from stoker.wire.frames import Answer, Assign, Ended, Interrupt

RECALL = "recall"
"""The kind of an interrupt that asks a run back, if it has not begun."""
HOLD = 0.002
"""Seconds that the end of a job may wait for those of the next."""
HELD_MAX = 64


class QueueLine(SoloLine):
    """The line of runs that follow each other."""

    def __init__(self, channel: Channel, page: Page, came: Callable[[], None]) -> None:
        super().__init__(channel)
        self._missed = False  # whatever came before its first job is read with that
        self._page = page
        self._came = came
        self._queue: deque[tuple[int, Assign]] = deque()
        """Jobs that wait, each with its place in the order of all that came."""
        self._assigned = 0
        self._ended: list[Ended] = []
        self._hold_until = 0.0
        self._asking = False
        self.waiting = Waiting()
        self.doctor = Doctor(channel, lambda: int(self.in_handler), self.waiting)

    def next(self) -> Assign | None:
        """The next job to work on; waits for it. None when there will be none."""
        with self._turn:  # a thread that the last job left behind may be reading still
            return self._next()

    def _next(self) -> Assign | None:
        self._busy += 1
        try:
            while True:
                if self._ended and (len(self._ended) >= HELD_MAX or time.monotonic() >= self._hold_until):
                    self._tell()
                if not self._queue and not self._fill():
                    return None
                number, assign = self._queue.popleft()
                self._pending = None
                self._run = assign.run  # what comes for it from now on is kept for its handler
                self._page.begin(assign.run)
                if not self._page.is_taken_back(number, assign.run):
                    return assign
                self._end_unbegun(assign.run)
        finally:
            self._busy -= 1

    def _fill(self) -> bool:
        """Have a job in the queue; False when there will be none."""
        for frame in self._channel.waiting():
            self._note(frame)
        while not self._queue:
            self._tell()
            begun = time.monotonic()
            first = self._channel.receive()
            self.waiting.seconds += time.monotonic() - begun
            if first is None:
                return False
            self._note(first)
        return True

    def send(self, frame: Any) -> None:
        self.tell()
        super().send(frame)

    def _wait(self) -> Answer | None:
        self._asking = True
        try:
            return super()._wait()
        finally:
            self._asking = False

    def over(self) -> None:
        """The run is: nothing comes for it any more."""
        self._run = NOBODY

    def end(self, ended: Ended) -> None:
        """Tell how a run ended, soon."""
        if not self._ended:
            self._hold_until = time.monotonic() + HOLD
        self._ended.append(ended)

    def tell(self) -> None:
        """Tell now how the runs so far have ended."""
        self._busy += 1
        try:
            self._tell()
        finally:
            self._busy -= 1

    def _noted(self) -> None:
        """The router waits for what is held back, too."""
        self._tell()

    def _tell(self) -> None:
        if self._ended:
            # taken before they are sent: a signal in between finds none
            ended, self._ended = self._ended, []
            try:
                self._channel.send_all(ended)
            except OSError:
                self._pending = self._pending or DaemonGone("the daemon is gone")

    def _note(self, frame: Any) -> None:
        if isinstance(frame, Assign):
            self._assigned += 1
            self._queue.append((self._assigned, frame))
            self._came()
        elif isinstance(frame, Interrupt) and (frame.run != self._run or frame.kind == RECALL):
            self._give_back(frame.run)
        elif isinstance(frame, Interrupt | Answer):
            super()._note(frame)
        else:
            # at once, whatever it is busy with: the router wants to know just that
            self.doctor.hear(frame)

    def _give_back(self, run: int) -> None:
        """Somebody does not want a run any more, or knows a better place for it; here it has not begun."""
        found = next((one for one in self._queue if one[1].run == run), None)
        if found is not None:
            self._queue.remove(found)
            self._end_unbegun(run)
            if self._asking:
                self._tell()  # what the handler waits for may be that very job

    def _end_unbegun(self, run: int) -> None:
        self.end(Ended(run, Returned("it was asked back before it began", begun=False), time.time()))


class ProcessResident:
    """Jobs one after the other."""

    def __init__(self, channel: Channel, watched: Watched, page: Page, warmth: Warmth, result_max: int) -> None:
        self._watched = watched
        self._page = page
        self._warmth = warmth
        self._result_max = result_max
        self.line = QueueLine(channel, page, watched.came)
        self._brief: dict[str, bool] = {}
        """Whether a command was done within the time that ends are held back, the last time."""
        self._poked = self.line.poked
        process.on_signal(POKE, self._poked)

    def serve(self) -> None:
        """Until the router closes the channel."""
        while (assign := self.line.next()) is not None:
            self._one(assign)

    def _one(self, assign: Assign) -> None:
        run = Run(assign, self.line, self._result_max)
        run.warmth = self._warmth
        joblog.belongs_to(run.context)
        limits = resource.getrlimit(resource.RLIMIT_AS) if assign.memory else None

        def limit() -> None:
            if assign.memory:
                process.limit_memory(assign.memory)
            self.line.enter(run)

        if not self._brief.get(assign.command):
            self.line.tell()  # the ends of those before do not wait for a long one, which may hear nothing
        try:
            execute(run, self._watched.current, limit)
        except Interrupted as late:
            # in the moment after its end: what it has come to counts
            run.outcome = run.outcome or outcome_of(late, run)
        finally:
            self.line.leave()
            self.line.over()
            if limits is not None:
                soften(limits)
        if process.signal_handler(POKE) is not self._poked:
            process.on_signal(POKE, self._poked)  # the handler has put its own there
        self._page.end()
        ended = run.ended
        self._brief[assign.command] = ended.seconds is not None and ended.seconds < HOLD
        self.line.end(ended)
        if assign.buffers:
            self.line.tell()  # before their memory goes with the run: of large ones that takes milliseconds


def soften(limits: tuple[int, int]) -> None:
    """Take back the memory limit of a job."""
    resource.setrlimit(resource.RLIMIT_AS, (limits[0], resource.getrlimit(resource.RLIMIT_AS)[1]))
