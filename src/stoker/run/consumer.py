"""A consumer: one job, then gone.

It is forked ahead of its job, so that the fork is off the job's way, and waits on its channel. It has one thread: what
the router says while the handler runs (stop!) is announced by SIGUSR1, read from the channel in the signal handler, and
raised into the handler right there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import types
from typing import Any

import setproctitle

from stoker.model import tracing
from stoker.model.interrupt import CancelRequested, DaemonGone, Interrupted, TimeLimitExceeded
from stoker.run import joblog, process
from stoker.run.executor import Run, execute
from stoker.run.line import unpack
from stoker.run.preload import Application
from stoker.run.rehearsal import rehearse
from stoker.wire.channel import Channel
from stoker.wire.frames import TO_RUNNER, Answer, Ask, Assign, Interrupt

POKE = int(signal.SIGUSR1)
"""Sent after a frame that a busy handler should see."""


class SoloLine:
    """The line of a run that has the process to itself."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._thread = threading.get_ident()
        self._busy = 0
        self._missed = False
        self._asks = 0
        self._pending: Interrupted | None = None
        self._run = -1
        self.in_handler = False

    def take(self) -> Assign | None:
        """Wait for the job; None when there will be none."""
        self._busy += 1
        try:
            frame = self._channel.receive()
            if isinstance(frame, Assign):
                self._run = frame.run
                return frame
            return None
        finally:
            self._busy -= 1

    def enter(self) -> None:
        """The handler comes next: what comes for it is raised into it, and what has come already right here."""
        self.in_handler = True
        self._heed()

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
        self._asks += 1
        self.send(Ask(self._run, self._asks, method, params))
        self._busy += 1
        try:
            answer = self._answer(self._asks)
        finally:
            self._busy -= 1
        self._heed()
        return unpack(answer)

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

    def _answer(self, number: int) -> Answer | None:
        while True:
            frame = self._channel.receive()
            if frame is None:
                self._pending = self._pending or DaemonGone("the daemon is gone")
                return None
            if isinstance(frame, Answer) and frame.ask == number:
                return frame
            self._note(frame)
            if self._pending is not None:
                return None

    def _note(self, frame: Any) -> None:
        if isinstance(frame, Interrupt) and frame.run == self._run:
            kind = TimeLimitExceeded if frame.kind == "timeout" else CancelRequested
            self._pending = kind(frame.reason)

    def _raise_pending(self) -> None:
        if self._pending is not None and self.in_handler and not self._busy:
            pending, self._pending = self._pending, None
            raise pending


def main(application: Application, prefix: str, result_max: int) -> None:
    """The life of a consumer, from the fork to its exit. Never returns."""
    setproctitle.setproctitle(f"{prefix}-spare")
    process.become_subreaper()
    reseed()
    channel = Channel(process.channel(), TO_RUNNER)
    line = SoloLine(channel)
    process.on_signal(POKE, line.poked)
    rehearse(1, result_max)
    assign = line.take()
    if assign is not None:
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
        line.enter()

    line.in_handler = True
    try:
        execute(run, application.current, limit)
    finally:
        line.in_handler = False
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
