"""What a store should hold, as a dict: the oracle that the state machine compares the real store with.

It knows the rules of the words (:mod:`stoker.model`) and of :mod:`stoker.store.base`, and nothing of any driver. Which
job of several that wait for one concurrency key is let in next is left to the store; that none is let in too many, and
none kept out while there is room, is not.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from stoker.model.job import Claimed, Job, State, Submission, Waits
from stoker.model.settle import Ending


@dataclasses.dataclass
class Entry:
    """One job as it should be."""

    new: Submission
    run_at: float
    expires: float | None
    state: State = State.NEW
    attempt: int = 0
    fence: int = 0
    owner: str | None = None
    lease_until: float = 0.0
    cancel: str | None = None
    finished: float | None = None
    events: int = 0
    starts: int = 0
    """Claims since it was submitted or retried by hand."""
    excused: int = 0
    """Of these, the ones that a snooze, a hand-back or a fallen house explains."""
    outcomes: Counter[int] = dataclasses.field(default_factory=Counter)
    """How often an ending was accepted, by fence."""

    @property
    def waits_for_time(self) -> bool:
        return self.state is State.NEW and self.delayed

    delayed: bool = False
    """Whether it waits for its moment: until a promotion finds that it has come."""


class Oracle:
    """All jobs by id, and what is paused."""

    def __init__(self) -> None:
        self.jobs: dict[str, Entry] = {}
        self.pauses: set[str] = set()

    def ids(self, *states: State) -> list[str]:
        """The jobs in these states, or all."""
        return [id for id, entry in self.jobs.items() if not states or entry.state in states]

    def submit(self, new: Submission, now: float) -> bool:
        """Whether a new job comes of it."""
        if new.id in self.jobs:
            return False
        run_at = now if new.run_at is None else max(now, new.run_at)
        expires = None if new.expires is None else run_at + new.expires
        self.jobs[new.id] = Entry(new, run_at, expires, delayed=run_at > now)
        return True

    def may_be_claimed(self, entry: Entry, now: float) -> bool:
        """Whether nothing but its concurrency key, if it has one, keeps the job from being claimed."""
        command = entry.new.command
        paused = self.pauses & {"*", command, command.partition(".")[0]}
        late = entry.expires is not None and entry.expires <= now
        return entry.state is State.NEW and not entry.delayed and not paused and not late

    def claim(self, claimed: Claimed, owner: str, until: float) -> None:
        entry = self.jobs[claimed.id]
        entry.state, entry.owner, entry.lease_until = State.RUNNING, owner, until
        entry.attempt += 1
        entry.fence += 1
        entry.starts += 1

    def is_current(self, claimed: Claimed) -> bool:
        entry = self.jobs.get(claimed.id)
        return entry is not None and entry.state is State.RUNNING and entry.fence == claimed.fence

    def settle(self, claimed: Claimed, ending: Ending, now: float, *, excused: bool) -> bool:
        """Whether the ending is accepted."""
        if not self.is_current(claimed):
            return False
        entry = self.jobs[claimed.id]
        entry.outcomes[claimed.fence] += 1
        entry.owner, entry.attempt = None, ending.attempt
        entry.excused += excused
        if ending.again and entry.cancel is None:
            assert ending.run_at is not None
            entry.state, entry.run_at, entry.expires = State.NEW, ending.run_at, None
            entry.delayed = ending.run_at > now
        else:
            self._end(entry, State.CANCELLED if entry.cancel is not None else ending.state, now)
        return True

    def _end(self, entry: Entry, state: State, now: float) -> None:
        entry.state, entry.finished, entry.cancel, entry.owner = state, now, None, None

    def promote(self, now: float) -> float | None:
        for entry in self.jobs.values():
            if entry.waits_for_time and entry.run_at <= now:
                entry.delayed = False
        return min((entry.run_at for entry in self.jobs.values() if entry.waits_for_time), default=None)

    def expire(self, now: float) -> list[str]:
        late = [
            id
            for id, entry in self.jobs.items()
            if entry.state is State.NEW and entry.expires is not None and entry.expires <= now
        ]
        for id in late:
            self._end(self.jobs[id], State.FAILED, now)
        return late

    def cancel(self, id: str, reason: str, now: float) -> None:
        entry = self.jobs[id]
        if entry.state is State.NEW:
            self._end(entry, State.CANCELLED, now)
        elif entry.state is State.RUNNING and entry.cancel is None:
            entry.cancel = reason

    def retry(self, id: str, now: float) -> None:
        entry = self.jobs[id]
        entry.state, entry.attempt, entry.run_at, entry.delayed = State.NEW, 0, now, False
        entry.expires, entry.finished, entry.starts, entry.excused = None, None, 0, 0

    def check(self, found: list[Job], limits: dict[str, int]) -> None:
        """Everything that must be true at any moment, of jobs as the store gives them."""
        by_id = {job.id: job for job in found}
        assert set(by_id) == set(self.jobs), "a job was lost, or made of nothing"
        for id, entry in self.jobs.items():
            job = by_id[id]
            seen = (job.state, job.attempt, job.fence, job.owner, job.cancel, job.finished, job.run_at)
            assert seen == (
                entry.state, entry.attempt, entry.fence, entry.owner, entry.cancel, entry.finished, entry.run_at,
            ), id  # fmt: skip
            assert entry.outcomes.total() == len(entry.outcomes), "two outcomes of one attempt"
            if entry.state is State.NEW:
                assert (job.waits is Waits.TIME) == entry.delayed
                assert job.waits is not Waits.KEY or job.key is not None
        self._check_keys(found, limits)

    @staticmethod
    def _check_keys(found: list[Job], limits: dict[str, int]) -> None:
        alive = [job for job in found if job.key is not None and not job.state.ended]
        holders = Counter(job.key for job in alive if job.state is State.RUNNING or job.waits is Waits.SLOT)
        for key, limit in limits.items():
            waiting = [job.id for job in alive if job.key == key and job.state is State.NEW and job.waits is Waits.KEY]
            assert holders[key] <= limit, f"C1: {key} has {holders[key]} holders"
            assert not waiting or holders[key] == limit, f"C2: {waiting} wait while a slot of {key} is free"
