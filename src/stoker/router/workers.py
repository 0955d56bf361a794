"""Processes that run jobs, as the router sees them: a channel, two pipes, and the attempts on them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import structlog

from stoker.model.event import EventKind
from stoker.model.outcome import Blame, Fault, Lost
from stoker.router.attempt import Attempt
from stoker.router.output import Pipe
from stoker.router.zygotes import Zygote
from stoker.run.consumer import POKE
from stoker.wire.frames import FROM_RUNNER, Fork, Interrupt
from stoker.wire.link import Link

log = structlog.get_logger(role="resident")


class Worker:
    """A consumer (``slots`` is 1, and it takes one job) or a resident."""

    def __init__(
        self,
        number: int,
        isolation: str,
        slots: int,
        zygote: Zygote,
        on_frame: Callable[[Any], None],
        clock: Callable[[], float],
    ) -> None:
        self.number = number
        self.isolation = isolation
        self.slots = slots
        self.zygote = zygote
        self.attempts: dict[int, Attempt] = {}
        self.used = False
        self.dead = False
        self.single = False
        """A resident for one job only, which was there when another resident died."""
        self._pid: int | None = None
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        self._link = Link(loop, ours, FROM_RUNNER, on_frame, lambda: None)
        self._pipes = tuple(Pipe(loop, kind, clock, self._stray) for kind in (EventKind.STDOUT, EventKind.STDERR))
        if not self.alone:
            self._listen_to_all()
        fds = (theirs.detach(), *(pipe.give_writer() for pipe in self._pipes))
        zygote.send(Fork(number, isolation, slots), fds)

    def _listen_to_all(self) -> None:
        """What a resident writes past Python is nobody's in particular: it goes to the daemon's log."""
        for pipe in self._pipes:
            pipe.listen()

    def _stray(self, text: str) -> None:
        for line in text.splitlines():
            log.info("resident output", pid=self._pid, line=line)

    @property
    def pid(self) -> int | None:
        return self._pid

    @property
    def alone(self) -> bool:
        return self.isolation == "fork"

    @property
    def room(self) -> int:
        """How many more jobs it can take now."""
        if self.dead or self.zygote.retiring or ((self.alone or self.single) and self.used):
            return 0
        return self.slots - len(self.attempts)

    @property
    def superfluous(self) -> bool:
        """Whether it is a resident that gets nothing more to do."""
        return not self.alone and (self.zygote.retiring or self.single) and not self.attempts

    def born(self, pid: int) -> None:
        self._pid = pid

    def assign(self, attempt: Attempt, kill_grace: float) -> None:
        self.used = True
        self.attempts[attempt.run] = attempt
        if self.alone:
            for pipe in self._pipes:
                pipe.attach(attempt)
        self._link.send(attempt.assign)
        attempt.begin(self, kill_grace)

    def send(self, frame: Any) -> None:
        self._link.send(frame)

    def ended(self, attempt: Attempt) -> None:
        """The job said how it ended; take the output it left before that."""
        self.attempts.pop(attempt.run, None)
        if self.alone:
            for pipe in self._pipes:
                pipe.drain()

    def poke(self, interrupt: Interrupt) -> None:
        self._link.send(interrupt)
        if self.alone:
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
            self._listen_to_all()

    def release(self) -> None:
        """Let an idle one go: it ends when its channel does."""
        self._link.close()

    def died(self) -> list[Attempt]:
        """It is gone: take what it still said, close everything; the attempts it left behind."""
        self.dead = True
        self._link.drain()
        left = list(self.attempts.values())
        self.attempts.clear()
        if self.alone:
            for pipe in self._pipes:
                pipe.drain()
        self._link.close()
        for pipe in self._pipes:
            pipe.close()
        return left


def cause(status: int, *, alone: bool) -> Lost:
    """How a process that never reported its job's end ended, in words."""
    code = os.waitstatus_to_exitcode(status)
    blame = Blame.JOB if alone else Blame.HOUSE
    if code >= 0:
        return Lost(Fault("ExitedEarly", f"exit {code} without a result"), blame)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = "; perhaps the machine ran out of memory" if -code == signal.SIGKILL else ""
    fault = Fault("Killed", f"signal {-code} ({name}){hint}")
    return Lost(fault, blame)
