"""M1: what holds of claim, lease, fence and complete in every reachable state, and what breaks it.

Two scopes of the one model of :mod:`tests.model.leases`, each searched to its end:

    wide    three starts, two children a node, answers at once        (the model of part G of the reliability notes)
    late    two starts, two children a node, every answer late or lost

I1 a job has at most one outcome · I2 what has ended stays ended · I3 an accepted ending carries the newest claim's
fence · I4 a job starts no more often than allowed · I5 once faults stop, every fair run ends the job, so an end can be
reached from everywhere · I6 no two children run one job at one moment.

The broken rules show that the search would notice; each is found with a shortest trace, whose last step is the harm.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model.leases import Leases, Rules, World, is_fault
from tests.model.search import Search

WIDE = Rules(late=False)
LATE = Rules(most=2)
SCOPES = {"wide": WIDE, "late": LATE}


def invariants(rules: Rules) -> dict[str, Callable[[World], bool]]:
    return {
        "I1": lambda world: world.row.outcomes <= 1,
        "I2": lambda world: not world.row.outcomes or world.row.state in ("completed", "failed"),
        "I3": lambda world: world.row.by in (0, world.row.fence),
        "I4": lambda world: world.row.fence <= rules.most,
        "I6": one_runs,
    }


def one_runs(world: World) -> bool:
    return sum(child.phase == "run" for node in world.nodes for child in node.children) <= 1


def searched(rules: Rules) -> Search[World]:
    return Search([World()], Leases(rules).steps, invariants(rules), most=250_000)


def ended(world: World) -> bool:
    return world.row.ended


def is_fair(name: str) -> bool:
    return not is_fault(name)


@pytest.mark.parametrize("rules", SCOPES.values(), ids=SCOPES.keys())
def test_the_rules_keep_the_promises_in_every_state(rules: Rules) -> None:
    search = searched(rules)
    print(f"M1: {search.states} states")
    assert search.broken is None, str(search.broken)
    trap = search.trap(ended, is_fair)
    assert trap is None, f"I5: {trap}"
    # and it was no empty search
    found = search.found
    assert {world.row.state for world in found} == {"new", "running", "completed", "failed"}
    assert {world.row.fence for world in found} == set(range(rules.most + 1))
    assert any(world.row.by == world.row.fence == 1 and world.row.state == "new" for world in found)


def broken(rules: Rules) -> tuple[str, list[str]]:
    """The first invariant that does not hold under these rules, and the trace."""
    search = searched(rules)
    assert search.broken is not None, f"nobody noticed in {search.states} states"
    print(f"M1: {search.states} states; {search.broken}")
    return search.broken.invariant, list(search.broken.trace)


def test_the_owner_alone_is_no_fence() -> None:
    """oban#1488, procrastinate#1518: one name, two attempts."""
    invariant, trace = broken(WIDE._replace(settle_by_owner=True))
    assert (invariant, len(trace)) == ("I3", 5), trace
    assert trace[-1] == "settle n0 f1"


def test_river_1302_a_reaper_that_writes_by_id_undoes_an_end() -> None:
    invariant, trace = broken(WIDE._replace(reap_by_id=True))
    assert (invariant, len(trace)) == ("I2", 8), trace
    assert trace[-3:] == ["reap-read n1 f1", "settle n0 f1", "reap-write n1 f1"]


def test_attempts_that_are_counted_at_their_failure_start_too_often() -> None:
    """D13: what kills its node is never counted."""
    invariant, trace = broken(WIDE._replace(count_at_failure=True))
    assert (invariant, len(trace)) == ("I4", 14), trace
    assert (trace[-1], trace.count("claim n0")) == ("claim n0", 4)


def test_trust_that_is_counted_from_the_answer_lets_two_run() -> None:
    """river#1213: a slow renewal stretches it."""
    invariant, trace = broken(LATE._replace(trust_renewal_from_answer=True))
    assert (invariant, len(trace)) == ("I6", 12), trace
    assert "renew-heard n0" in trace
    assert trace[-1] == "begin n0 f2"


def test_a_claim_that_is_trusted_from_its_answer_lets_two_run() -> None:
    """Its answer is so late that the lease is over, and somebody else has the job."""
    invariant, trace = broken(LATE._replace(trust_claim_from_answer=True))
    assert (invariant, len(trace)) == ("I6", 9), trace
    assert trace[-1] == "begin n0 f2"


def test_a_renewal_of_all_that_is_owned_keeps_a_lost_claim_for_ever() -> None:
    """graphile#449: a job that nobody works on, and nobody may take."""
    search = searched(LATE._replace(most=1, renew_by_owner=True))
    assert search.broken is None, str(search.broken)
    trap = search.trap(ended, is_fair)
    print(f"M1: {search.states} states; {trap}")
    assert trap is not None
    assert trap.trace == ("claim n0", "lose-claim n0 f1")
    assert {"renew-write n0", "tick"} <= trap.round
