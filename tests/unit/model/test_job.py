"""The words of a job."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.model.clock import FakeClock, SystemClock
from stoker.model.job import ENDED, Priority, State, priority
from stoker.model.outcome import Fault


def test_three_states_are_ends() -> None:
    assert {state for state in State if state.ended} == ENDED == {State.COMPLETED, State.FAILED, State.CANCELLED}


@pytest.mark.parametrize(
    ("given", "read"), [(0, 0), (-100, -100), (100, 100), ("critical", 20), ("Normal", 0), (Priority.OPTIONAL, -10)]
)
def test_a_priority_is_a_number_or_a_name(given: Any, read: int) -> None:
    assert priority(given) == read


@pytest.mark.parametrize("given", [101, -101, "", "urgent", "5"])
def test_another_priority_is_refused_with_what_is_possible(given: Any) -> None:
    with pytest.raises(ValueError, match=r"between|optional, normal, important, critical"):
        priority(given)


def test_a_fault_reads_as_one_line() -> None:
    assert str(Fault("ValueError", "no such page")) == "ValueError: no such page"
    assert str(Fault("KeyboardInterrupt", "")) == "KeyboardInterrupt"


def test_a_wall_clock_may_jump_and_the_other_never_does() -> None:
    clock = FakeClock(100.0)
    clock.advance(5.0)
    clock.jump(-50.0)
    assert (clock.wall(), clock.mono()) == (55.0, 5.0)
    real = SystemClock()
    assert real.mono() <= real.mono()
    assert real.wall() > 1.7e9
