"""Figures of this daemon since its start: counted here, on the way of every job, so with as little work as can be."""

from __future__ import annotations

from collections import deque

from stoker.model.outcome import Done, Outcome, Returned, Snoozed
from stoker.router.jobs.attempt import Attempt
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

    def ended(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        """An attempt has ended; one that was given back has not."""
        job = attempt.job
        tally = self.commands.get(job.command)
        if tally is None:
            tally = self.commands[job.command] = CommandTally()
        if isinstance(outcome, Done):
            tally.done += 1
        elif isinstance(outcome, Returned):
            return
        elif isinstance(outcome, Snoozed):
            tally.snoozed += 1
        else:
            tally.not_done += 1
        tally.seconds += now - attempt.born
        started, seconds = attempt.started, attempt.seconds
        if started is not None and seconds is not None:
            tally.runs.observe(seconds)
            if job.attempt == 1 and not job.round and (job.fence <= 1 or not tally.snoozed):
                skew = self.skew if job.seq else 0.0  # a dispatched job was never stored
                tally.waits.observe(started + skew - (job.overrides.due or job.created))
            place = attempt.place
            worker = place.resident if isinstance(place, Turn) else place
            if isinstance(worker, Worker):
                worker.busy += seconds
        if now >= self._until:
            self._turn(now)
        self._now += 1

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
