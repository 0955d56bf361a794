"""A consumer: one job, then gone.

It is forked ahead of its job, so that the fork is off the job's way, and waits on its channel. It has one thread: what
the router says while the handler runs (stop!) is announced by SIGUSR1, read from the channel in the signal handler, and
raised into the handler right there.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import setproctitle

from stoker.model import tracing
from stoker.model.errors import StokerError
from stoker.model.interrupt import DaemonGone, Interrupted
from stoker.run import joblog, process
from stoker.run.executor import Run, execute, outcome_of
from stoker.run.line import unpack
from stoker.run.preload import Application
from stoker.run.rehearsal import rehearse
from stoker.run.stopping import interruption, throw
from stoker.wire.channel import Channel
from stoker.wire.frames import TO_RUNNER, Answer, Ask, Assign, Interrupt

POKE = int(signal.SIGUSR1)
"""Sent after a frame that a busy handler should see."""
NOBODY = -1
"""The run that is none: before the first, and between two."""
ASIDE = 50
"""Milliseconds after which a thread that waits for an answer looks whether its job has ended."""


class SoloLine:
    """The line of a run that has the process to itself."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._thread = threading.get_ident()
        self._busy = 0
        self._missed = True  # what was announced before anybody listened
        self._asks = 0
        self._answer: Answer | None = None
        """To the question that is asked, whoever has read it."""
        self._turn = threading.Lock()
        self._pending: Interrupted | None = None
        self._run = self._asker = NOBODY
        self._raise: Callable[[Interrupted], None] = throw
        self.in_handler = False

    def take(self) -> Assign | None:
        """Wait for the job; None when there will be none."""
        frame = self._channel.receive()
        if not isinstance(frame, Assign):
            return None
        self._run = frame.run
        return frame

    def enter(self, run: Run) -> None:
        """The handler comes next: what comes for it is raised into it, and what has come already right here."""
        self._raise = run.interrupt
        run.on_leave = self.leave
        self.in_handler = True
        self._heed()

    def leave(self) -> None:
        """The handler is through: what comes now comes too late, and its clean-ups run undisturbed."""
        self.in_handler = False
        self._raise = throw

    def send(self, frame: Any) -> None:
        self._busy += 1
        try:
            self._channel.send(frame)
        except OSError:
            self._pending = self._pending or DaemonGone("the daemon is gone")
        finally:
            self._busy -= 1
        self._heed()

    def ask(self, method: str, params: bytes) -> bytes:
        run = self._run  # of now: when it is this thread's turn, its job may have ended, and another have begun
        with self._turn:  # threads of the handler ask one after the other
            self._check(run)
            self._asker, self._answer = run, None
            self._asks += 1
            self.send(Ask(run, self._asks, method, params))
            self._busy += 1
            try:
                answer = self._wait()
            finally:
                self._busy -= 1
            if answer is None:
                self._give_up()
            self._heed()
            self._check(run)
        return unpack(answer)

    def _check(self, run: int) -> None:
        if run != self._run or run == NOBODY:
            raise StokerError("the job that asked has ended")

    async def aask(self, method: str, params: bytes) -> bytes:
        return self.ask(method, params)

    def poked(self, _signal: int, _frame: types.FrameType | None) -> None:
        """The signal handler: never touches the channel in the middle of somebody else's use of it, who looks then."""
        if self._busy:
            self._missed = True
        else:
            self._look()

    def _look(self) -> None:
        """Read what is there, and raise what is for the handler."""
        self._missed = False
        self._busy += 1
        try:
            for frame in self._channel.waiting():
                self._note(frame)
            self._noted()
            if self._channel.closed:
                self._pending = self._pending or DaemonGone("the daemon is gone")
        finally:
            self._busy -= 1
        self._heed()  # something more may have been announced after all was read

    def _noted(self) -> None:
        """All that was there is read."""

    def _heed(self) -> None:
        """The channel is free again: what was announced meanwhile is looked at now, in the handler's own thread."""
        if self._busy or not (self._missed or self._pending is not None):
            return
        if threading.get_ident() != self._thread:
            signal.pthread_kill(self._thread, POKE)
        elif self._missed:
            self._look()
        else:
            self._raise_pending()

    def _wait(self) -> Answer | None:
        """The answer; None when there is none, or the handler is to stop."""
        if threading.get_ident() != self._thread:
            return self._wait_aside()
        while self._answer is None:
            frame = self._channel.receive()
            if frame is None:
                self._pending = self._pending or DaemonGone("the daemon is gone")
                return None
            self._note(frame)
            if self._stops:
                return self._answer
        return self._answer

    @property
    def _stops(self) -> bool:
        """Whether the handler is to stop."""
        return self._pending is not None and self.in_handler

    def _wait_aside(self) -> Answer | None:
        """The same in another thread of the handler, which may outlive it: what comes then is not its to read."""
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        while self._answer is None and self._run == self._asker and not self._stops:
            for frame in self._channel.waiting():
                self._note(frame)
            if self._channel.closed:
                self._pending = self._pending or DaemonGone("the daemon is gone")
                break
            if self._answer is None and not self._stops:
                poll.poll(ASIDE)
        return self._answer

    def _give_up(self) -> None:
        """No answer comes: the handler is to stop, and whichever of its threads has asked."""
        pending = self._pending
        if pending is None or not self.in_handler:
            return
        if threading.get_ident() != self._thread:
            self._heed()
            raise type(pending)(pending.reason)
        self._pending = None
        self._raise(pending)

    def _note(self, frame: Any) -> None:
        if isinstance(frame, Interrupt) and frame.run == self._run:
            self._pending = interruption(frame)
        elif isinstance(frame, Answer) and frame.ask == self._asks:
            self._answer = frame

    def _raise_pending(self) -> None:
        if self._pending is not None and self.in_handler and not self._busy:
            pending, self._pending = self._pending, None
            self._raise(pending)


def main(application: Application, prefix: str, result_max: int) -> None:
    """The life of a consumer, from the fork to its exit. Never returns."""
    setproctitle.setproctitle(f"{prefix}-spare")
    process.become_subreaper()
    reseed()
    channel = Channel(process.channel(), TO_RUNNER)
    line = SoloLine(channel)
    rehearse(1, result_max)
    assign = line.take()
    if assign is not None:
        process.on_signal(POKE, line.poked)  # no sooner: what is read on a signal must not be the job
        setproctitle.setproctitle(f"{prefix}-consumer {assign.command} {assign.job}")
        serve(assign, line, application, result_max)
    leave()


def serve(assign: Assign, line: SoloLine, application: Application, result_max: int) -> None:
    """Run one job and report how it ended."""
    run = Run(assign, line, result_max)
    joblog.belongs_to(run.context)

    def limit() -> None:
        if assign.memory:
            process.limit_memory(assign.memory)
        line.enter(run)

    try:
        execute(run, application.current, limit)
    except Interrupted as late:
        # in the moment after its end: what it has come to counts
        run.outcome = run.outcome or outcome_of(late, run)
    finally:
        line.leave()
    flush()
    line.send(run.ended)


def reseed() -> None:
    """Random numbers of one's own: numpy copies its state over a fork; the standard library takes care of itself."""
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def leave() -> None:
    """End without the parent's clean-up: nothing of its buffers, threads or handles is ours to close."""
    flush()
    tracing.flush()
    os._exit(0)
