"""One resident: its turns, its age, and what is known of it when it dies.

In the kind ``process`` jobs wait in the worker for their turn. Only the first has begun: its time runs, and it may be
killed for. Those behind it are asked back when they are not wanted any more, taken back when it takes long, and given
back uncounted when it dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from stoker.model.command import Isolation
from stoker.model.outcome import Blame, Fault, Lost, Outcome, Returned
from stoker.model.quantities import show_seconds
from stoker.router.jobs.attempt import Attempt, End
from stoker.router.pools.workers import Worker
from stoker.router.pools.zygotes import Zygote
from stoker.run import process
from stoker.run.page import SEEN_AFTER, Page, new_file
from stoker.run.resident_process import RECALL
from stoker.wire.frames import Ended, Fork, Inspect, Interrupt, Ready, Vitals

AHEAD_SECONDS = 0.05
"""So much work may wait in a worker for its turn."""
AHEAD_MAX = 1000
"""Jobs in a worker at most: enough that it has some while the next are claimed (measured: 26 to 30 thousand jobs a
second, and 23 with 256)."""
QUIET = 0.05
"""Seconds of silence after which a worker with several jobs is looked at."""
STALLED = 2
"""Such looks in a row at which nothing has ended, after which what waits is taken back."""
SILENT_AFTER = 3.0
"""Seconds without an answer after which that is told."""
RELEASE_WITHIN = 10.0
"""Seconds that a worker has to end when it is let go."""
NOT_BEGUN = Returned("its worker ended before it began", begun=False)
TAKEN_BACK = Returned("it was taken back from behind a job that takes long", begun=False)


class Turn:
    """The place of an attempt that waits in a worker for its turn."""

    __slots__ = ("_attempt", "resident")
    alone = False

    def __init__(self, resident: Resident, attempt: Attempt) -> None:
        self.resident = resident
        self._attempt = attempt

    @property
    def pid(self) -> int | None:
        return self.resident.pid

    def send(self, frame: Any) -> None:
        """It has asked nothing yet."""

    def poke(self, interrupt: Interrupt) -> None:
        self.resident.poke(interrupt)

    def kill(self, number: int) -> None:
        """There is nothing to kill: it is asked back."""
        if number == 9:
            self.recall()

    def recall(self) -> None:
        self.resident.poke(self.interrupt)

    @property
    def interrupt(self) -> Interrupt:
        """What asks it back. If it has begun meanwhile, it goes on."""
        return Interrupt(self._attempt.run, RECALL, "asked back")

    def hush(self) -> None:
        """It says nothing yet."""

    def listen(self) -> None:
        """It says nothing yet."""


class Resident(Worker):
    """A worker that stays. ``on_ready`` is called once, when it takes jobs or has said why it cannot."""

    def __init__(
        self, order: Fork, zygote: Zygote, on_frames: Callable[[list[Any]], None], clock: Callable[[], float],
        on_ready: Callable[[Resident], None],
    ) -> None:  # fmt: skip
        self._on_frames = on_frames
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        page = new_file()
        self._page = Page(page)
        self.slots = order.slots
        self.product = order.product
        self._alone = order.isolation == Isolation.PROCESS
        self.ready = False
        self.problem: str | None = None
        self.single = False
        """For one job only, which was there when another resident died."""
        self.outgoing = False
        """To be replaced; takes what ``limit`` leaves."""
        self.released = False
        self.limit: int | None = None
        """Jobs that it may take in its life."""
        self.ahead = True
        """Whether jobs may wait in it for their turn."""
        self.taken = 0
        self.done = 0
        self.calls = 0
        """Direct calls under way, which are no attempts."""
        self.born_at = self.idle_since = self._loop.time()
        self._seconds: float | None = None
        self._mark = (0.0, 0)
        self._sent = 0
        """Jobs that were sent to it, those that came back among them."""
        self._head_since = 0.0
        self._quiet: asyncio.TimerHandle | None = None
        self._stalled = False
        self._asked_at: float | None = None
        self.vitals: Vitals | None = None
        """What it said when it was asked last, at :attr:`heard_at`."""
        self.heard_at: float | None = None
        self._wall = clock
        super().__init__(order, zygote, self._heard, clock, (page,))
        self._listen_to_output()

    @property
    def alone(self) -> bool:
        return self._alone

    @property
    def worn(self) -> bool:
        """Whether it has had nearly all the jobs that it may take, so that its successor should be made."""
        return self.limit is not None and self.limit - self.taken <= self.limit // 10

    @property
    def load(self) -> int:
        """What it has to do now."""
        return len(self.attempts) + self.calls

    @property
    def active(self) -> int:
        """Jobs in their handlers, for all that is known here."""
        return min(self.load, self.slots)

    @property
    def takes(self) -> bool:
        """Whether it is there and takes jobs."""
        return self.ready and not (self.dead or self.released or self.zygote.retiring)

    @property
    def room(self) -> int:
        """How many more jobs it can take now: what it has slots for, and what keeps it busy until we hear of it."""
        if not self.takes or (self.single and self.taken):
            return 0
        free = self.slots + self._ahead - self.load
        return free if self.limit is None else min(free, self.limit - self.taken)

    @property
    def _ahead(self) -> int:
        if not (self.ahead and self.alone and self._seconds) or self._stalled:
            return 0
        return min(AHEAD_MAX, int(AHEAD_SECONDS / self._seconds))

    def assign(self, attempts: Sequence[Attempt], kill_grace: float) -> None:
        """Give it these, in order."""
        self.used = True
        self.taken += len(attempts)
        self._sent += len(attempts)
        head = None if self.attempts else attempts[0]
        self.attempts.update((attempt.run, attempt) for attempt in attempts)
        if len(attempts) == 1:
            self._link.send(attempts[0].assign, attempts[0].take_fds())
        else:
            self._link.send_all([attempt.assign for attempt in attempts])
        if head is not None:
            self._head_since = self._loop.time()
            self._mark = (self._head_since, self.done)
        for attempt in attempts:
            if attempt is head or not self._alone:
                attempt.begin(self, kill_grace)
            else:
                attempt.place = Turn(self, attempt)
        if self._alone and self._quiet is None and len(self.attempts) > 1:
            self._quiet = self._loop.call_later(QUIET, self._look, self.done, 0)

    def took(self, ends: Sequence[End], kill_grace: float) -> None:
        """Jobs ended, or were given back before they began; the next one has its turn."""
        back = 0
        for attempt, outcome in ends:
            self.attempts.pop(attempt.run, None)
            if isinstance(outcome, Returned) and not outcome.begun and isinstance(attempt.place, Turn):
                back += 1
        self.taken -= back
        if back == len(ends):
            return
        self.done += len(ends) - back
        self._stalled = False
        now = self._loop.time()
        since, done = self._mark
        if self.alone and (self.done - done >= 8 or not self.attempts):
            seconds = max(1e-6, (now - since) / (self.done - done))
            self._seconds = seconds if self._seconds is None else 0.7 * self._seconds + 0.3 * seconds
            self._mark = (now, self.done)
        if not self.attempts:
            self.idle_since = now
        elif self.alone:
            following = next(iter(self.attempts.values()))
            if isinstance(following.place, Turn):
                following.begin(self, kill_grace)
                self._head_since = now
                if following.disowned or (following.cancel is None and following.fate(NOT_BEGUN) is not NOT_BEGUN):
                    self.kill(9)  # it was to end, and has begun before it could be asked back

    def inspect(self, *, now: bool = False) -> None:
        """Have it say how it is: ``now``, in the middle of a job, or when it reads its next frame."""
        if self.takes and not self.silent:
            self._asked_at = self._loop.time()
            self._link.send(Inspect())
        if now and self.silent and self.alone and self.load:
            self.nudge()

    @property
    def silent(self) -> bool:
        """Whether it was asked how it is, and has not answered yet."""
        return self._asked_at is not None

    @property
    def unheard(self) -> float:
        """Seconds since it was asked how it is; 0 if it has answered."""
        return 0.0 if self._asked_at is None else self._loop.time() - self._asked_at

    def silence(self) -> str | None:
        """That it does not answer for so long that somebody should know. In the kind ``process`` nobody expects an
        answer in the middle of a job, so that it has to be stopped, too."""
        unheard = self.unheard
        if unheard < SILENT_AFTER or self.dead or self.pid is None:
            return None
        told = f"the worker {self.pid} has not answered for {show_seconds(unheard)}"
        if process.is_stopped(self.pid):
            return f"{told}: it is stopped (SIGSTOP); `kill -CONT {self.pid}` lets it go on"
        return None if self.alone else f"{told}: something in it does not let the rest of it run"

    def _sift(self, frames: list[Any]) -> list[Any]:
        """It was asked how it is: find the answer among what it says, and leave the rest."""
        for frame in frames:
            if isinstance(frame, Vitals):
                self.vitals, self.heard_at, self._asked_at = frame, self._wall(), None
                return [other for other in frames if other is not frame]
        return frames

    def is_stuck(self, seconds: float) -> bool:
        """Whether it was given a job so long ago and has not even begun it: it was stopped, or is not itself."""
        if not self.alone or not self.takes or not self.attempts:
            return False
        return self._loop.time() - self._head_since > seconds and self._page.run not in self.attempts

    def release(self) -> None:
        """Let it go: it runs the rest of its start hook and ends. One that does not is killed."""
        if not self.released:
            self.released = True
            super().release()
            self._loop.call_later(RELEASE_WITHIN, self._insist)

    def died(self) -> list[Attempt]:
        if self._quiet is not None:
            self._quiet.cancel()
        for pipe in self._pipes:
            pipe.drain()
        return super().died()

    def ending(self, how: str) -> str:
        """How it died, and with which words."""
        return f"{how}{'' if self.ready else ' before it was ready'}{self.words}"

    @property
    def words(self) -> str:
        return f"; the last line it wrote: {self.said}" if self.said else ""

    def fates(self, left: list[Attempt], found: Outcome) -> list[tuple[Attempt, Outcome]]:
        """What became of the attempts that it left behind, now that it is dead."""
        at = self._page.run
        self._page.close()
        if not self.alone:
            return [(attempt, attempt.fate(found)) for attempt in left]
        runs = [attempt.run for attempt in left]
        begun = runs.index(at) if at in runs else -1
        told = Lost(Fault("Killed", "its worker died before it told how the job ended"), Blame.HOUSE)
        return [
            (attempt, attempt.fate(told if place < begun else found) if place <= begun else NOT_BEGUN)
            for place, attempt in enumerate(left)
        ]

    def _heard(self, frames: list[Any]) -> None:
        if not self.ready and isinstance(frames[0], Ready):
            ready, *frames = frames
            self.born(ready.pid)  # the zygote's word of it may come later
            self.problem = ready.problem
            self.ready = ready.problem is None
            self.idle_since = self._loop.time()
            self._on_ready(self)
        if self.silent:
            frames = self._sift(frames)
        if frames:
            self._on_frames(frames)

    def _look(self, done: int, silent: int) -> None:
        """It has several jobs. Have it tell the ends it holds back; where one takes long, take the others back, so that
        they do not wait for it while somebody else is free. It may be busy in C, and hear nothing: see
        :mod:`stoker.run.page`."""
        self._quiet = None
        if self.dead or len(self.attempts) < 2:
            return
        silent = silent + 1 if self.done == done else 0
        runs, at = list(self.attempts), self._page.run
        if silent and at in runs[1:]:
            self.nudge()
        if silent == STALLED:
            self._stalled = True
            self._page.take_back(runs[0], self._sent)
        self._quiet = self._loop.call_later(SEEN_AFTER if silent == STALLED else QUIET, self._look, self.done, silent)
        if silent > STALLED:
            # of those behind the run that it is at; it says so, too, when it comes to them, and is not heard then
            ended = [Ended(run, TAKEN_BACK, self._wall()) for run in runs[runs.index(at) + 1 if at in runs else 1 :]]
            if ended:
                self._on_frames(ended)

    def _insist(self) -> None:
        if not self.dead:
            self.kill(9)
