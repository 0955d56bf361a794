"""A state machine on a real store: any order of what clients, daemons, reapers and crashes do (M1, M3, M5).

STOKER_TEST_STEPS sets how many steps are taken in all; the default takes some seconds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stoker.model import settle
from stoker.model.command import Backoff, CommandSpec
from stoker.model.errors import IdConflict
from stoker.model.event import EventKind, NewEvent
from stoker.model.job import ENDED, Claimed, State, Submission, Submitted
from stoker.model.outcome import Blame, Cancelled, Done, Failed, Fault, Lost, Outcome, Retry, Returned, Snoozed
from stoker.store.base import Filter, Held, Quota, Report, Settlement, Store
from tests.contract.model import Oracle
from tests.contract.places import PLACES, Place

STEPS = int(os.environ.get("STOKER_TEST_STEPS", "5000"))
STEPS_EACH = 50
MEMORY = "/dev/shm"
"""Where files need no disk: this test is about order, others are about durability."""
JOBS_MAX = 8
"""Few jobs, so that much happens to each."""
LEASE = 5.0
LIMITS = {"app.a:k": 1, "app.a:l": 2}
RETRIES = 2
COMMANDS = {name: CommandSpec(name=name, backoff=Backoff(retries=RETRIES, base=1.0)) for name in ("app.a", "app.b")}
FAULT = Fault("ValueError", "broken")
OUTCOMES: dict[str, Outcome] = {
    "done": Done(b"1"),
    "retry": Retry(FAULT),
    "retry now": Retry(FAULT, 0.0),
    "snoozed": Snoozed(3.0),
    "failed": Failed(FAULT),
    "cancelled": Cancelled("by the handler"),
    "lost": Lost(FAULT, Blame.JOB),
    "returned": Returned(),
}
EXCUSED = {"snoozed", "returned"}


def some(*states: State) -> Callable[[StoreMachine], bool]:
    """Whether there are jobs in these states: a step that could do nothing is not taken."""
    return lambda machine: bool(machine.oracle.ids(*states))


class StoreMachine(RuleBasedStateMachine):
    """``kind`` is set by the test. What was ever claimed is kept, so that every old fence is tried again."""

    kind: type[Place]
    claims: Bundle[Claimed] = Bundle("claims")
    stale: Bundle[Claimed] = Bundle("stale")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="stoker-machine-", dir=MEMORY if os.path.isdir(MEMORY) else None))
        self.place = self.kind(self.folder)
        self.store: Store = self.runner.run(self.place.open())
        self.oracle = Oracle()
        self.boot = 1
        self.made = 0

    def teardown(self) -> None:
        self.runner.run(self.place.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def do(self, awaitable: Any) -> Any:
        async def wait() -> Any:
            return await awaitable()

        return self.runner.run(wait())

    @property
    def owner(self) -> str:
        return f"boot-{self.boot}"

    # ── clients ──────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        command=st.sampled_from(sorted(COMMANDS)),
        key=st.sampled_from([None, *LIMITS]),
        delay=st.sampled_from([None, 0.0, 4.0, 15.0]),
        priority=st.integers(-1, 1),
        expires=st.sampled_from([None, 7.0]),
        count=st.integers(1, 4),
    )
    @precondition(lambda self: len(self.oracle.jobs) < JOBS_MAX)
    def submit(
        self, command: str, key: str | None, delay: float | None, priority: int, expires: float | None, count: int
    ) -> None:
        now = self.store.now()
        new = []
        for _ in range(count):
            self.made += 1
            id, at = f"j{self.made}", None if delay is None else now + delay
            gate = {"key": key, "key_limit": LIMITS.get(key or "", 1)}
            more: dict[str, Any] = {"run_at": at, "priority": priority, "expires": expires, **gate}
            new.append(Submission(id=id, command=command, input=b"%d" % self.made, **more))
        answers = self.do(lambda: self.store.submit(new))
        assert answers == [Submitted(one.id, self.oracle.submit(one, now)) for one in new]

    @rule(data=st.data(), other=st.booleans())
    @precondition(some())
    def submit_again(self, data: st.DataObject, other: bool) -> None:
        """The reply was lost; or the id is taken for something else by mistake."""
        new = self.oracle.jobs[data.draw(st.sampled_from(sorted(self.oracle.jobs)))].new
        if other:
            new = Submission(id=new.id, command=new.command, input=b'"other"')
        (answer,) = self.do(lambda: self.store.submit([new]))
        assert isinstance(answer, IdConflict) if other else answer == Submitted(new.id, False)

    @rule(data=st.data(), reason=st.sampled_from(["first", "second"]))
    @precondition(some(State.NEW, State.RUNNING))
    def cancel(self, data: st.DataObject, reason: str) -> None:
        id = data.draw(st.sampled_from(self.oracle.ids(State.NEW, State.RUNNING)))
        self.oracle.cancel(id, reason, self.store.now())
        job = self.do(lambda: self.store.cancel(id, reason))
        assert job.state is self.oracle.jobs[id].state

    @rule(data=st.data())
    @precondition(some(*ENDED))
    def retry(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(self.oracle.ids(*ENDED)))
        self.do(lambda: self.store.retry(id))
        self.oracle.retry(id, self.store.now())

    @rule(name=st.sampled_from(["app.a", "app.b", "app", "*"]))
    @precondition(some(State.NEW))
    def pause_or_resume(self, name: str) -> None:
        if self.oracle.pauses:
            (name,) = self.oracle.pauses
            self.oracle.pauses.clear()
            assert self.do(lambda: self.store.resume(name)) is True
        else:
            self.oracle.pauses.add(name)
            self.do(lambda: self.store.pause(name))

    # ── daemons ──────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(target=claims, total=st.integers(1, 4), rooms=st.tuples(st.integers(0, 4), st.integers(1, 4)))
    @precondition(some(State.NEW))
    def claim(self, total: int, rooms: tuple[int, int]) -> Any:
        now = self.store.now()
        quotas = [Quota(name, room) for name, room in zip(sorted(COMMANDS), rooms, strict=True)]
        before = {job.id: job for job in self.do(lambda: self.store.jobs(Filter(limit=1000)))}
        found: list[Claimed] = self.do(lambda: self.store.claim(self.owner, LEASE, quotas, total))
        line = sorted(
            (-entry.new.priority, before[id].seq, id)
            for id, entry in self.oracle.jobs.items()
            if self.oracle.may_be_claimed(entry, now) and before[id].waits == "slot"
        )
        expected: list[str] = []
        left = dict(zip(sorted(COMMANDS), rooms, strict=True))
        for _, _, id in line:
            command = self.oracle.jobs[id].new.command
            if left[command] and len(expected) < total:
                left[command] -= 1
                expected.append(id)
        assert [one.id for one in found] == expected
        for one in found:
            self.oracle.claim(one, self.owner, now + LEASE)
            entry = self.oracle.jobs[one.id]
            assert (one.attempt, one.fence, one.input) == (entry.attempt, entry.fence, entry.new.input)
            assert entry.starts <= 1 + RETRIES + entry.excused, "started more often than allowed"
        return multiple(*found)

    @rule(target=claims)
    @precondition(some(State.NEW))
    def claim_all(self) -> Any:
        return self.claim(1000, (1000, 1000))

    @rule(target=claims, seconds=st.sampled_from([1.0, 4.0]))
    @precondition(some(State.NEW))
    def go_on(self, seconds: float) -> Any:
        """A while passes in which all goes well: what is due is found due, and claimed."""
        self.place.advance(seconds)
        self.promote()
        return self.claim(1000, (1000, 1000))

    @rule(
        target=stale,
        claimed=consumes(claims),
        word=st.sampled_from(sorted(OUTCOMES)),
        twice=st.booleans(),
        heard=st.booleans(),
    )
    def settle(self, claimed: Claimed, word: str, twice: bool, heard: bool = True) -> Claimed:
        """``heard`` is whether the daemon knows that somebody asked to cancel the job."""
        cancel = self.oracle.jobs[claimed.id].cancel if heard and self.oracle.is_current(claimed) else None
        self._settle(claimed, OUTCOMES[word], cancel=cancel, excused=word in EXCUSED)
        if twice:
            self._settle(claimed, OUTCOMES[word], cancel=cancel, excused=False)
        return claimed

    @rule(target=stale, claimed=consumes(claims), now=st.booleans())
    def give_back(self, claimed: Claimed, now: bool) -> Claimed:
        self._settle(claimed, Returned() if now else Snoozed(3.0), cancel=None, excused=True)
        return claimed

    @rule(claimed=stale, word=st.sampled_from(["done", "failed", "retry now"]))
    def settle_late(self, claimed: Claimed, word: str) -> None:
        assert not self._settle(claimed, OUTCOMES[word], cancel=None, excused=False), "an old fence was accepted"

    def _settle(self, claimed: Claimed, outcome: Outcome, *, cancel: str | None, excused: bool) -> bool:
        now = self.store.now()
        spec = COMMANDS[claimed.command]
        ending = settle.after(claimed, outcome, spec, now=now, chance=0.5, cancel=cancel)
        (taken,) = self.do(lambda: self.store.settle([Settlement(claimed.seq, claimed.fence, ending, claimed.key)]))
        assert taken == self.oracle.settle(claimed, ending, now, excused=excused)
        return bool(taken)

    @rule(claimed=claims)
    def report(self, claimed: Claimed) -> None:
        event = NewEvent(EventKind.LOG, self.store.now(), b"1")
        (taken,) = self.do(lambda: self.store.report([Report(claimed.seq, claimed.fence, (event,))]))
        assert taken == self.oracle.is_current(claimed)
        self.oracle.jobs[claimed.id].events += taken
        assert len(self.do(lambda: self.store.events(claimed.id))) == self.oracle.jobs[claimed.id].events

    @rule(claimed=stale)
    def report_late(self, claimed: Claimed) -> None:
        self.report(claimed)

    @rule()
    @precondition(some(State.RUNNING))
    def renew(self) -> None:
        until = self.store.now() + LEASE
        running = {id: entry for id, entry in self.oracle.jobs.items() if entry.state is State.RUNNING}
        held = [Held(self.do(lambda id=id: self.store.get(id)).seq, entry.fence) for id, entry in running.items()]
        mine = [entry.owner == self.owner for entry in running.values()]
        assert self.do(lambda: self.store.renew(self.owner, LEASE, held)) == mine
        for entry in running.values():
            if entry.owner == self.owner:
                entry.lease_until = until

    @rule()
    @precondition(some(State.RUNNING))
    def mend(self) -> None:
        """The reaper: everything that nobody works on begins again, or is given up."""
        now = self.store.now()
        found: list[Claimed] = self.do(lambda: self.store.abandoned(self.owner))
        lost = {
            id for id, entry in self.oracle.jobs.items() if entry.state is State.RUNNING and entry.lease_until < now
        }
        foreign = {
            id for id, entry in self.oracle.jobs.items() if entry.state is State.RUNNING and entry.owner != self.owner
        }
        assert lost <= {one.id for one in found} <= lost | foreign
        for claimed in found:
            assert self.oracle.is_current(claimed)
            assert self._settle(claimed, Lost(FAULT, Blame.HOUSE), cancel=None, excused=True)

    @rule(seconds=st.sampled_from([0.5, 3.0, 8.0, 20.0]))
    @precondition(some(State.NEW, State.RUNNING))
    def tick(self, seconds: float) -> None:
        self.place.advance(seconds)

    @rule()
    @precondition(some(State.NEW))
    def promote(self) -> None:
        assert self.do(lambda: self.store.promote()) == self.oracle.promote(self.store.now())

    @rule()
    @precondition(some(State.NEW))
    def expire(self) -> None:
        expected = self.oracle.expire(self.store.now())
        assert sorted(self.do(lambda: self.store.expire())) == sorted(expected)

    @rule()
    @precondition(some(State.RUNNING))
    def crash_and_reopen(self) -> None:
        self.boot += 1
        self.store = self.runner.run(self.place.crash())

    @invariant()
    def the_store_is_what_it_should_be(self) -> None:
        found = self.do(lambda: self.store.jobs(Filter(limit=1000)))
        self.oracle.check(found, LIMITS)


@pytest.mark.timeout(max(300, STEPS // 100))
@pytest.mark.parametrize("kind", PLACES.values(), ids=PLACES.keys())
def test_any_order_of_events_keeps_the_promises(kind: type[Place]) -> None:
    machine = type("Machine", (StoreMachine,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max(1, STEPS // kind.effort // STEPS_EACH),
            stateful_step_count=STEPS_EACH,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
