"""The way of a job on PostgreSQL, its router killed at every step by a real SIGKILL: DESIGN part 4, with two nodes.

On a file the next daemon knows at once that its predecessor is gone; on a server its jobs are taken when their lease is
over, by whichever node looks first.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from stoker.model.errors import DaemonError
from tests.crash.test_steps import STEPS
from tests.daemon import LOADED, Daemon, alive, until
from tests.fleet import Fleet, started

LEASE = 2.0
TAKEOVER = LEASE + LOADED


def two(fleet: Fleet, step: str) -> tuple[Daemon, Daemon]:
    """Node ``a``, whose router can be struck at a step, and node ``b`` beside it."""
    quick: dict[str, Any] = {"lease": LEASE, "look": 0.25, "consumers_max": 3}
    a = fleet.node("a", begin=False, failpoints=[f"{step}:kill"], **quick)
    b = fleet.node("b", begin=False, **quick)
    started(a, b)
    return a, b


@pytest.mark.parametrize("step", STEPS)
def test_a_router_is_killed_at(fleet: Fleet, step: str) -> None:
    """Whatever the step: what was acknowledged is done, by one accepted end, and each job starts once more at most."""
    a, b = two(fleet, step)
    ids = [a.client.submit("led.work").id for _ in range(5)]
    router = a.router
    if step != "before-reap":
        a.arm(step)
    ids += [a.client.submit("led.work", id=f"armed-{number}").id for number in range(5)]
    if step == "before-reap":
        a.arm(step)  # a look for lost jobs comes every quarter of a second
    elif not a.struck(step):
        ids += [a.client.submit("led.work", id=f"more-{number}").id for number in range(20)]
    until(lambda: a.struck(step), what=f"the lightning at {step}")
    until(lambda: not alive(router))
    ids += [b.client.submit("led.work").id for _ in range(3)]
    begun = time.monotonic()
    fleet.all_ended(ids)
    print(f"{step}: all was done {time.monotonic() - begun:.2f} s after the kill, with a lease of {LEASE:g} s")
    fleet.check(ids, faults=1)
    assert a.router != router
    assert [daemon.stop() for daemon in (a, b)] == [0, 0]
    assert fleet.sql("SELECT count(*) FROM stoker.nodes WHERE name = 'b'") == [(0,)], (
        "who leaves in order is off at once"
    )


def test_killed_during_submit_is_all_or_nothing(fleet: Fleet) -> None:
    """Row 1, P2: the answer is lost; sent again with the same id, to another node, it is the same job, and another
    payload under this id is refused."""
    a, b = two(fleet, "after-submit")
    a.arm("after-submit")
    with a.client.line() as line, pytest.raises(DaemonError):
        line.ask("submit", {"command": "led.work", "id": "once-only"}, object)
    assert a.struck("after-submit")
    again = b.client.submit("led.work", id="once-only")
    assert not again.created, "it was committed before the kill"
    assert again.wait(30).status == "completed"
    with pytest.raises(Exception, match="used before"):
        b.client.submit("led.work", {"gate": "another"}, id="once-only")
    fleet.check(["once-only"], faults=1)


def test_claimed_by_a_node_that_died_before_it_began(fleet: Fleet) -> None:
    """Row 3: running in the store, and no process has it: another node counts the attempt and starts it again within
    the lease and a look."""
    a, b = two(fleet, "after-claim")
    b.client.ask("cordon", node="b")
    a.arm("after-claim")
    job = a.client.submit("led.work", id="claimed")
    until(lambda: a.struck("after-claim"))
    a.kill()
    begun = time.monotonic()
    b.client.ask("cordon", node="b", cordoned=False)
    record = b.client.job(job.id).wait(30)
    took = time.monotonic() - begun
    print(f"claimed by a node that died: done elsewhere after {took:.2f} s, with a lease of {LEASE:g} s")
    assert (record.status, record.attempt) == ("completed", 2)
    assert [entry.what for entry in fleet.entries()] == ["begin", "end"], "it never began the first time"
    outcomes = [event.value()["error"] for event in b.client.job(job.id).events() if event.kind == "attempt"]
    assert outcomes == ["Lost: the daemon that ran it went away"]
    assert took < TAKEOVER


def test_a_command_that_must_not_start_twice(fleet: Fleet) -> None:
    """Row 6: declared ``once`` it fails instead, on the other node, and says why."""
    a, b = two(fleet, "before-claim")
    b.client.ask("cordon", node="b")
    job = a.client.submit("led.once", {"gate": "once"})
    a.wait_here("once")
    a.kill()
    b.client.ask("cordon", node="b", cordoned=False)
    record = b.client.job(job.id).wait(30)
    assert (record.status, record.error) == ("failed", "Lost: the daemon that ran it went away")
    assert [entry.what for entry in fleet.entries()] == ["begin"]
