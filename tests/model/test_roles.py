"""M2: what holds of roles and ticks in every reachable state of :mod:`tests.model.roles`, and what breaks it.

R1 no two nodes trust themselves at one moment · R2 a slot is settled once: fired, or marked missed · R3 no write of an
old term is accepted · R4 a term never goes down, by resigning either · R5 once faults stop and nodes act within the
tick, every slot is fired or marked missed, whatever happened before.
"""

from __future__ import annotations

import pytest

from tests.model.roles import SLOTS, Roles, Rules, World
from tests.model.search import Search, Trap

INVARIANTS = {
    "R1": lambda world: not all(node.trust for node in world.nodes),
    "R2": lambda world: all(len(slot) <= 1 for slot in world.role.slots),
    "R3": lambda world: not world.role.stale,
    "R4": lambda world: world.role.term == world.role.top,
}


def searched(rules: Rules) -> Search[World]:
    return Search([World()], Roles(rules).steps, INVARIANTS, most=250_000)


def test_the_rules_keep_the_promises_in_every_state() -> None:
    search = searched(Rules())
    print(f"M2: {search.states} states")
    assert search.broken is None, str(search.broken)
    # and it was no empty search
    assert {world.role.term for world in search.found} == set(range(Rules().terms + 1))
    assert {slot for world in search.found for slot in world.role.slots} == {"", "f", "m"}
    assert any(world.role.slots == ("f",) * SLOTS for world in search.found)


def test_every_slot_is_settled_once_faults_stop() -> None:
    trap = calmed(Rules(terms=2))
    assert trap is None, f"R5: {trap}"


def test_what_nobody_marks_missed_is_open_for_ever() -> None:
    """A leader that only ever looks at the newest slot (sidekiq#6804)."""
    trap = calmed(Rules(terms=1, marks_missed=False))
    assert trap is not None
    assert "tick" in trap.round
    assert not {"pick n0", "pick n1", "write n0", "write n1"} & trap.round


def calmed(rules: Rules) -> Trap | None:
    """Where a slot may stay open for ever, from any state that faults lead to."""
    faulty = searched(rules)
    calm = Search(faulty.found, Roles(rules, calm=True).steps, INVARIANTS, most=250_000)
    assert calm.broken is None, str(calm.broken)
    trap = calm.trap(lambda world: world.role.settled, lambda name: True)
    print(f"M2: {faulty.states} states, {calm.states} with what follows in the calm; {trap}")
    return trap


@pytest.mark.parametrize(
    ("rules", "invariant", "steps", "last"),
    [
        pytest.param(Rules(unique_slot=False), "R2", 7, "write n0", id="a slot that is not unique is fired twice"),
        pytest.param(Rules(term_guard=False), "R3", 9, "write n0", id="a write without its term is accepted late"),
        pytest.param(Rules(trust_from_ask=False), "R1", 9, "hear n1", id="river_1213 trust counted from the answer"),
        pytest.param(Rules(term_stays=False), "R4", 4, "resign n0", id="synapse_437 resigning forgets the term"),
        pytest.param(Rules(deaf_after_resigning=False), "R1", 11, "hear n1", id="an old answer after resigning"),
    ],
)
def test_a_broken_rule_is_noticed(rules: Rules, invariant: str, steps: int, last: str) -> None:
    search = searched(rules)
    print(f"M2: {search.states} states; {search.broken}")
    assert search.broken is not None
    assert (search.broken.invariant, len(search.broken.trace), search.broken.trace[-1]) == (invariant, steps, last)
