"""One attempt while it runs: its limits, what it has said, and how it is made to stop.

    interrupt ──► exception in the handler ── kill_grace ──► SIGTERM ── kill_grace ──► SIGKILL of the whole tree

However it ends, it ends once: the first outcome counts, whatever comes later finds ``ended`` set.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from stoker.model.command import CommandSpec, Isolation
from stoker.model.event import EventKind, NewEvent
from stoker.model.job import Claimed, Progress
from stoker.model.outcome import Cancelled, Fault, Lost, Outcome, Retry
from stoker.model.quantities import show_seconds, show_size
from stoker.wire.frames import Assign, Interrupt


class Place(Protocol):
    """Where an attempt runs: a consumer, a resident, or the zygote itself."""

    @property
    def pid(self) -> int | None: ...

    @property
    def alone(self) -> bool:
        """Whether the process runs nothing else, so that it can be killed for this one."""

    def send(self, frame: Any) -> None:
        """Say something to the process."""

    def poke(self, interrupt: Interrupt) -> None:
        """Have an exception raised into the handler."""

    def kill(self, number: int) -> None:
        """Signal the process and all it started."""

    def hush(self) -> None:
        """Read nothing more from it for now."""

    def listen(self) -> None:
        """Read from it again."""


class Attempt:
    """A claimed job on its way. ``run`` is its number in the frames."""

    # what most attempts never change stands here once: a daemon makes 20,000 attempts a second
    started: float | None = None
    seconds: float | None = None
    """How long it took, as its process measured it, once it has ended."""
    role_term: int | None = None
    """The term in which this node holds the role that the command asks for."""
    place: Place | None = None
    isolation = Isolation.FORK
    cancel: str | None = None
    event_bytes = 0
    progress: Progress | None = None
    ended = False
    ours_until = math.inf
    """Until when, on the monotonic clock, nobody else may start it."""
    disowned = False
    """Whether it is being ended because it may be another node's."""
    _events: list[NewEvent] | None = None
    _cut = False
    _doom: Outcome | None = None
    _timer: asyncio.TimerHandle | None = None

    def __init__(
        self,
        run: int,
        job: Claimed,
        spec: CommandSpec,
        *,
        memory: int | None,
        max_output: int,
        born: float,
        on_said: Callable[[Attempt], None],
    ) -> None:
        self.run = run
        self.job = job
        self.spec = spec
        self.memory = job.overrides.memory or spec.memory or memory
        self.timeout = job.overrides.timeout or spec.timeout
        self.max_output = self._room = spec.output or max_output
        self.born = born
        self._on_said = on_said

    @property
    def assign(self) -> Assign:
        job = self.job
        return Assign(
            self.run,
            job.id,
            job.command,
            job.input,
            job.attempt,
            job.fence,
            job.user,
            job.tags,
            self.memory,
            self.timeout,
            self.max_output,
            job.round,
            (),
            job.overrides.trace,
            role_term=self.role_term,
        )

    def take_fds(self) -> Sequence[int]:
        """Descriptors that go with the assignment; whoever takes them sends them. A stored job has none."""
        return ()

    def begin(self, place: Place, kill_grace: float) -> None:
        """It was handed over; its time runs from now."""
        self.place = place
        if self.timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.timeout, self.time_out, kill_grace)

    def time_out(self, kill_grace: float) -> None:
        assert self.timeout is not None
        reason = f"time limit {show_seconds(self.timeout)} exceeded"
        self._stop("timeout", reason, Retry(Fault("TimeLimit", f"killed: {reason}")), kill_grace)

    def cancelled(self, reason: str, kill_grace: float) -> None:
        """Somebody asked for it to stop."""
        if self.cancel is None:
            self.cancel = reason
            self._stop("cancel", reason, Cancelled(reason), kill_grace)

    def over_memory(self) -> None:
        """It has more than it may: ended at once, there is no time to be polite."""
        assert self.memory is not None
        self._doom = Lost(Fault("MemoryLimit", f"killed: memory {show_size(self.memory)} exceeded"))
        self._kill(9)

    def returned(self, outcome: Outcome) -> None:
        """The daemon stops; it is killed and given back."""
        self._doom = outcome
        self._kill(9)

    def _stop(self, kind: str, reason: str, doom: Outcome, kill_grace: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._doom = doom
        if self.place is not None:
            self.place.poke(Interrupt(self.run, kind, reason))
        loop = asyncio.get_running_loop()

        def term() -> None:
            self._kill(15)
            self._timer = loop.call_later(kill_grace, self._kill, 9)

        self._timer = loop.call_later(kill_grace, term)

    def _kill(self, number: int) -> None:
        if not self.ended and self.place is not None:
            self.place.kill(number)

    def fate(self, found: Outcome) -> Outcome:
        """Why it died, if we were the ones who killed it; else what was found."""
        return self._doom or found

    def finish(self) -> bool:
        """It has ended; False if that was known."""
        if self.ended:
            return False
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
        return True

    def say(self, kind: EventKind, at: float, data: bytes, size: int | None = None) -> None:
        """Keep an event until the next report; past the job's bound on output it is dropped, with one mark. ``size`` is
        what it counts for, when that is not its length as JSON."""
        if kind is not EventKind.PROGRESS:
            size = len(data) if size is None else size
            if size > self._room:
                self.cut(at)
                return
            self._room -= size
        self._keep(kind, at, data)

    @property
    def room(self) -> int:
        """Bytes that it may still say."""
        return self._room

    def cut(self, at: float) -> None:
        """It said more than it may: from here on nothing is kept, and the reader is told so once."""
        self._room = 0
        if not self._cut:
            self._cut = True
            mark = {"level": "warning", "message": f"output cut: more than {show_size(self.max_output)}"}
            self._keep(EventKind.LOG, at, msgspec.json.encode(mark))

    def _keep(self, kind: EventKind, at: float, data: bytes) -> None:
        if self._events is None:
            self._events = []
        self._events.append(NewEvent(kind, at, data))
        self.event_bytes += len(data)
        self._on_said(self)

    def take_events(self) -> tuple[tuple[NewEvent, ...], Progress | None]:
        """What was said since the last time."""
        if self._events is None and self.progress is None:
            return (), None
        events, progress = tuple(self._events or ()), self.progress
        self._events, self.progress, self.event_bytes = None, None, 0
        return events, progress


End: TypeAlias = tuple[Attempt, Outcome]
"""An attempt and what it has come to."""
