"""Figures of this daemon since its start: counted here, on the way of every job, so with as little work as can be."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from stoker.model.outcome import Done, Outcome, Returned, Snoozed
from stoker.router.jobs.attempt import Attempt, End
from stoker.router.pools.resident import Turn
from stoker.router.pools.workers import Worker
from stoker.router.stats.histogram import Histogram

WINDOW = 60
"""Seconds over which rates are taken."""


class CommandTally:
    """Attempts of one command that ended here. ``seconds`` is the time from their claim to their end; ``runs`` is how
    long their handlers took; ``waits`` is how long first attempts waited from the moment they were due to the entry of
    their handler. A snooze is not counted as an attempt, and no wait: where there are any, only first claims are."""

    __slots__ = ("done", "not_done", "runs", "seconds", "snoozed", "waits")

    def __init__(self) -> None:
        self.done = 0
        self.not_done = 0
        self.snoozed = 0
        self.seconds = 0.0
        self.waits = Histogram()
        self.runs = Histogram()

    def count(self, outcome: Outcome, seconds: float) -> None:
        """One more has ended, so long after its claim."""
        if isinstance(outcome, Done):
            self.done += 1
        elif isinstance(outcome, Snoozed):
            self.snoozed += 1
        else:
            self.not_done += 1
        self.seconds += seconds

    @property
    def total(self) -> int:
        return self.done + self.not_done + self.snoozed

    def copy(self) -> CommandTally:
        return self.since(CommandTally())

    def since(self, earlier: CommandTally | None) -> CommandTally:
        """What came to it after it was ``earlier``; all, for None."""
        before = earlier or CommandTally()
        found = CommandTally()
        found.done = self.done - before.done
        found.not_done = self.not_done - before.not_done
        found.snoozed = self.snoozed - before.snoozed
        found.seconds = self.seconds - before.seconds
        found.waits = self.waits.since(before.waits)
        found.runs = self.runs.since(before.runs)
        return found


class Tally:
    """Counts and durations by command, and a sliding window for rates."""

    def __init__(self) -> None:
        self.submitted = 0
        self.commands: dict[str, CommandTally] = {}
        self.skew = 0.0
        """Seconds by which the store's clock is ahead of this machine's."""
        self._second = 0
        self._until = 0.0
        self._now = 0
        self._recent: deque[tuple[int, int]] = deque()
        """Seconds of the monotonic clock in which attempts ended, and how many."""

    def ended(self, ends: Iterable[End], now: float) -> None:
        """Attempts have ended; those that were given back have not."""
        if now >= self._until:
            self._turn(now)
        for attempt, outcome in ends:
            if isinstance(outcome, Returned):
                continue
            command = attempt.job.command
            tally = self.commands.get(command)
            if tally is None:
                tally = self.commands[command] = CommandTally()
            tally.count(outcome, now - attempt.born)
            if attempt.started is not None and attempt.seconds is not None:
                self._observe(tally, attempt, attempt.started, attempt.seconds)
            self._now += 1

    def _observe(self, tally: CommandTally, attempt: Attempt, started: float, seconds: float) -> None:
        tally.runs.observe(seconds)
        job = attempt.job
        if job.attempt == 1 and not job.round and (job.fence <= 1 or not tally.snoozed):
            skew = self.skew if job.seq else 0.0  # a dispatched job was never stored
            tally.waits.observe(started + skew - (job.overrides.due or job.created))
        place = attempt.place
        worker = place.resident if isinstance(place, Turn) else place
        if isinstance(worker, Worker):
            worker.busy += seconds

    def rate(self, now: float) -> float:
        """Attempts that ended per second, over the last minute."""
        self._turn(now)
        return sum(count for _, count in self._recent) / WINDOW

    def _turn(self, now: float) -> None:
        """A second is over."""
        second = int(now)
        if self._now:
            self._recent.append((self._second, self._now))
        self._second, self._until, self._now = second, second + 1.0, 0
        while self._recent and self._recent[0][0] < second - WINDOW:
            self._recent.popleft()
