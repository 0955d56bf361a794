"""A claim whose answer comes after its lease: found by the model of leases (tests/model), and then in the product."""

from __future__ import annotations

import os
import signal

from tests.daemon import process, until
from tests.fleet import Fleet, started

QUICK = {"lease": 2.0, "look": 0.25, "consumers_max": 3}


def stopped(pid: int) -> bool:
    found = process(pid)
    return found is not None and found.state == "T"


def test_a_claim_that_is_answered_after_its_lease_begins_nothing(fleet: Fleet) -> None:
    """Node a is frozen between the answer to its claim and the start of the job; b takes the job over; a wakes up."""
    a = fleet.node("a", begin=False, failpoints=["after-claim:stop"], **QUICK)
    b = fleet.node("b", begin=False, **QUICK)
    started(a, b)
    b.client.ask("cordon", node="b")
    a.arm("after-claim")
    frozen = a.router
    job = b.client.submit("led.work", {"gate": "g"}, id="late")
    until(lambda: stopped(frozen), 10, "a is stopped after its claim")
    b.client.ask("cordon", node="b", cordoned=False)
    b.wait_here("g")
    os.kill(frozen, signal.SIGCONT)
    until(lambda: "a late ending was refused" in a.log(), 10, "a gave back what it had no right to any more")
    b.open_gate("g")
    assert job.wait(20).status == "completed"
    begins = [entry for entry in fleet.entries() if entry.what == "begin"]
    assert [entry.attempt for entry in begins] == [2], "a never began it"
    fleet.check([job.id], faults=1)
