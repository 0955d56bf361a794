"""Processes that run jobs, as the router sees them: a channel, two pipes, and the attempts on them.

Consumer   takes one job and is gone
Resident   stays: one job at a time in the kind ``process``, several in ``thread`` and ``async``
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import structlog

from stoker.model.event import EventKind
from stoker.model.outcome import Blame, Fault, Lost
from stoker.router.jobs.attempt import Attempt
from stoker.router.jobs.output import Pipe
from stoker.router.pools.zygotes import Zygote
from stoker.run import process
from stoker.run.consumer import POKE
from stoker.wire.frames import FROM_RUNNER, Fork, Interrupt
from stoker.wire.link import Link

log = structlog.get_logger(role="resident")

SAID_MAX = 200


class Worker:
    """A process that runs jobs, and what connects us with it."""

    def __init__(
        self, order: Fork, zygote: Zygote, on_frames: Callable[[list[Any]], None], clock: Callable[[], float],
        fds: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        self.number = order.worker
        self.isolation = order.isolation
        self.zygote = zygote
        self.attempts: dict[int, Attempt] = {}
        self.used = False
        self.dead = False
        self.busy = 0.0
        """Seconds that ended jobs took."""
        self.said = ""
        """The last line that it wrote while it had no job."""
        self.on_leaving: Callable[[], None] = lambda: None
        """Called when it takes no more jobs, or soon none; perhaps more than once."""
        self._pid: int | None = None
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        self._link = Link(loop, ours, FROM_RUNNER, on_frames, lambda: None, descriptors=bool(order.product))
        self._pipes = tuple(Pipe(loop, kind, clock, self._stray) for kind in (EventKind.STDOUT, EventKind.STDERR))
        zygote.send(order, (theirs.detach(), *(pipe.give_writer() for pipe in self._pipes), *fds))

    def _stray(self, text: str) -> None:
        for line in text.splitlines():
            self.said = line.strip()[:SAID_MAX] or self.said
            log.info("resident output", pid=self._pid, line=line)

    @property
    def pid(self) -> int | None:
        return self._pid

    @property
    def alone(self) -> bool:
        """Whether it runs one job at a time, so that it can be killed for that one."""
        return True

    def born(self, pid: int) -> None:
        self._pid = pid

    def send(self, frame: Any) -> None:
        self._link.send(frame)

    def ended(self, attempt: Attempt) -> None:
        """The job said how it ended."""
        self.attempts.pop(attempt.run, None)

    def poke(self, interrupt: Interrupt) -> None:
        self._link.send(interrupt)
        self.nudge()

    def take_fds(self, count: int) -> list[int]:
        """The descriptors of the frame at hand, in order; the receiver owns them."""
        return self._link.take_fds(count)

    def nudge(self) -> None:
        """Have it look at its channel, though it is busy: when what was sent in this turn of the loop is there."""
        asyncio.get_running_loop().call_soon(self._signal)

    def _signal(self) -> None:
        if not self.dead:
            self.zygote.kill(self.number, POKE, tree=False)

    def kill(self, number: int) -> None:
        self.zygote.kill(self.number, number, tree=True)

    def hush(self) -> None:
        self._link.pause()
        for pipe in self._pipes:
            pipe.hush()

    def listen(self) -> None:
        self._link.resume()
        if self.used:
            self._listen_to_output()

    def _listen_to_output(self) -> None:
        for pipe in self._pipes:
            pipe.listen()

    def release(self) -> None:
        """Let an idle one go: it ends when its channel does."""
        self._link.close()
        self.on_leaving()

    def died(self) -> list[Attempt]:
        """It is gone: take what it still said, close everything; the attempts it left behind, in their order."""
        self.dead = True
        self._link.drain()
        left = list(self.attempts.values())
        self.attempts.clear()
        self._link.close()
        for pipe in self._pipes:
            pipe.close()
        return left


class Consumer(Worker):
    """One job, then gone. Whatever it writes is that job's."""

    def assign(self, attempt: Attempt, kill_grace: float) -> None:
        self.used = True
        self.attempts[attempt.run] = attempt
        self._link.send(attempt.assign)
        attempt.begin(self, kill_grace)
        for pipe in self._pipes:
            pipe.attach(attempt)  # what it writes waits in the pipe: it is the job that must not wait

    def ended(self, attempt: Attempt) -> None:
        super().ended(attempt)
        self._drain()

    def died(self) -> list[Attempt]:
        self._link.drain()
        self._drain()
        return super().died()

    def _drain(self) -> None:
        """Take the output that was left before the end was said."""
        for pipe in self._pipes:
            pipe.drain()


class Inline:
    """The zygote as a place to run: for commands that take no time."""

    alone = False

    def __init__(self, zygote: Zygote) -> None:
        self._zygote = zygote

    @property
    def pid(self) -> int | None:
        return self._zygote.pid

    def send(self, frame: Any) -> None:
        """An inline run asks nothing, so it is told nothing."""

    def poke(self, interrupt: Interrupt) -> None:
        """There is nothing to poke: it is over at once, or it hangs and the kill comes."""

    def kill(self, number: int) -> None:
        self._zygote.abort()

    def hush(self) -> None:
        """The control channel is always read."""

    def listen(self) -> None:
        """The control channel is always read."""


def cause(status: int, *, alone: bool) -> Lost:
    """How a process that never reported its job's end ended, in words."""
    blame, code = Blame.JOB if alone else Blame.HOUSE, os.waitstatus_to_exitcode(status)
    if code >= 0:
        return Lost(Fault("ExitedEarly", f"{process.ending(code)} without a result"), blame)
    return Lost(Fault("Killed", process.ending(code)), blame)
