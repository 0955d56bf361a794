"""settle.after: every row of its table, and what is true of all rows."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model import settle
from stoker.model.command import Backoff, CommandSpec
from stoker.model.job import Claimed, Overrides, State
from stoker.model.outcome import Blame, Cancelled, Done, Failed, Fault, Lost, Outcome, Retry, Returned, Snoozed
from stoker.model.settle import HOUSE_RETRIES, Ending, after

NOW = 1000.0
FAULT = Fault("ValueError", "broken")
SPEC = CommandSpec(name="app.work", backoff=Backoff(retries=2, base=8.0, jitter=0.5))


def attempt(number: int = 1, **overrides: Any) -> Claimed:
    return Claimed(1, "a", "app.work", b"{}", number, number, None, (), Overrides(**overrides), NOW)


def decide(outcome: Outcome, number: int = 1, spec: CommandSpec | None = SPEC, cancel: str | None = None) -> Ending:
    return after(attempt(number), outcome, spec, now=NOW, chance=0.0, cancel=cancel)


LEFT, NONE_LEFT = 1, 3
"""Attempts of SPEC: at the first there are two left, at the third none."""

TABLE = [
    (Done(b"42"), LEFT, Ending(State.COMPLETED, 1, output=b"42")),
    (Done(b"42"), NONE_LEFT, Ending(State.COMPLETED, 3, output=b"42")),
    (Retry(FAULT), LEFT, Ending(State.NEW, 1, NOW + 8, fault=FAULT)),
    (Retry(FAULT), NONE_LEFT, Ending(State.FAILED, 3, fault=FAULT)),
    (Retry(FAULT, after=5.0), LEFT, Ending(State.NEW, 1, NOW + 5, fault=FAULT)),
    (Retry(FAULT, after=0.0), LEFT, Ending(State.NEW, 1, NOW, fault=FAULT)),
    (Retry(FAULT, after=5.0), NONE_LEFT, Ending(State.FAILED, 3, fault=FAULT)),
    (Snoozed(60.0), LEFT, Ending(State.NEW, 0, NOW + 60)),
    (Snoozed(60.0), NONE_LEFT, Ending(State.NEW, 2, NOW + 60)),
    (Failed(FAULT), LEFT, Ending(State.FAILED, 1, fault=FAULT)),
    (Failed(FAULT), NONE_LEFT, Ending(State.FAILED, 3, fault=FAULT)),
    (Cancelled("enough"), LEFT, Ending(State.CANCELLED, 1, fault=Fault("Cancelled", "enough"))),
    (Cancelled("enough"), NONE_LEFT, Ending(State.CANCELLED, 3, fault=Fault("Cancelled", "enough"))),
    (Lost(FAULT, Blame.JOB), LEFT, Ending(State.NEW, 1, NOW + 8, fault=FAULT)),
    (Lost(FAULT, Blame.JOB), NONE_LEFT, Ending(State.FAILED, 3, fault=FAULT)),
    (Lost(FAULT, Blame.HOUSE), LEFT, Ending(State.NEW, 1, NOW + 8, fault=FAULT)),
    (Lost(FAULT, Blame.HOUSE), NONE_LEFT, Ending(State.FAILED, 3, fault=FAULT)),
    (Returned(), LEFT, Ending(State.NEW, 0, NOW)),
    (Returned(), NONE_LEFT, Ending(State.NEW, 2, NOW)),
]


@pytest.mark.parametrize(("outcome", "number", "ending"), TABLE, ids=lambda value: str(value)[:40])
def test_each_row_of_the_table(outcome: Outcome, number: int, ending: Ending) -> None:
    assert decide(outcome, number) == ending


def test_the_table_is_whole() -> None:
    """Every kind of outcome with attempts left and with none, and the words of the docstring's own table."""
    kinds = set(typing.get_args(Outcome))
    assert {(type(outcome), number) for outcome, number, _ in TABLE} == {
        (k, n) for k in kinds for n in (LEFT, NONE_LEFT)
    }
    text = settle.__doc__ or ""
    assert all(f"    {kind.__name__} " in text for kind in kinds)


@pytest.mark.parametrize("outcome", [row[0] for row in TABLE], ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("number", [LEFT, NONE_LEFT])
def test_a_request_to_cancel_wins(outcome: Outcome, number: int) -> None:
    expected = Ending(State.CANCELLED, number, fault=Fault("Cancelled", "not wanted"))
    assert decide(outcome, number, cancel="not wanted") == expected


def test_a_fallen_house_is_forgiven_a_job_without_retries() -> None:
    spec = CommandSpec(name="app.work")
    ends = [decide(Lost(FAULT, Blame.HOUSE), number, spec).again for number in range(1, HOUSE_RETRIES + 3)]
    assert ends == [True] * HOUSE_RETRIES + [False, False]
    assert not decide(Lost(FAULT, Blame.JOB), 1, spec).again


def test_a_fallen_house_is_forgiven_no_less_than_a_failure() -> None:
    spec = CommandSpec(name="app.work", backoff=Backoff(retries=5))
    assert decide(Lost(FAULT, Blame.HOUSE), 5, spec).again
    assert not decide(Lost(FAULT, Blame.HOUSE), 6, spec).again


ENDS_BADLY: list[Outcome] = [Retry(FAULT), Retry(FAULT, 0.0), Lost(FAULT, Blame.JOB), Lost(FAULT, Blame.HOUSE)]


@pytest.mark.parametrize("outcome", ENDS_BADLY, ids=str)
def test_a_command_declared_once_is_never_started_twice(outcome: Outcome) -> None:
    once = CommandSpec(name="app.work", once=True, backoff=Backoff(retries=3))
    assert decide(outcome, 1, once).state is State.FAILED
    asked_for_more = after(attempt(1, retries=5), outcome, once, now=NOW, chance=0.0)
    assert asked_for_more.state is State.FAILED


def test_a_command_that_nobody_knows_has_no_retries_and_no_back_off() -> None:
    assert decide(Retry(FAULT), 1, None).state is State.FAILED
    assert decide(Lost(FAULT, Blame.HOUSE), 1, None) == Ending(State.NEW, 1, NOW, fault=FAULT)


def test_a_submission_may_ask_for_other_retries_than_the_command() -> None:
    more = after(attempt(3, retries=3), Retry(FAULT), SPEC, now=NOW, chance=0.0)
    none = after(attempt(1, retries=0), Retry(FAULT), SPEC, now=NOW, chance=0.0)
    assert (more.again, none.again) == (True, False)


FAULTS = st.builds(Fault, st.text(), st.text())
WAITS = st.floats(0, 1e6)
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Done, st.binary()),
    st.builds(Retry, FAULTS, st.none() | WAITS),
    st.builds(Snoozed, WAITS),
    st.builds(Failed, FAULTS),
    st.builds(Cancelled, st.text()),
    st.builds(Lost, FAULTS, st.sampled_from(Blame)),
    st.builds(Returned),
)
SPECS = st.none() | st.builds(
    CommandSpec,
    name=st.just("app.work"),
    once=st.booleans(),
    backoff=st.builds(
        Backoff, st.integers(0, 5), st.floats(0, 100), st.floats(0.1, 1e9), st.floats(0, 1e6), st.floats(0, 1)
    ),
)
CHANCES = st.floats(0, 1, exclude_max=True)


@given(OUTCOMES, SPECS, st.integers(1, 10), CHANCES, st.text())
def test_nothing_goes_on_once_it_is_to_be_cancelled(
    outcome: Outcome, spec: CommandSpec | None, number: int, chance: float, reason: str
) -> None:
    ending = after(attempt(number), outcome, spec, now=NOW, chance=chance, cancel=reason)
    assert ending.state is State.CANCELLED
    assert (ending.output, ending.run_at) == (None, None)


@given(OUTCOMES, SPECS, st.integers(1, 10), CHANCES, st.none() | st.text())
def test_an_ending_is_whole(
    outcome: Outcome, spec: CommandSpec | None, number: int, chance: float, cancel: str | None
) -> None:
    ending = after(attempt(number), outcome, spec, now=NOW, chance=chance, cancel=cancel)
    assert ending.state is not State.RUNNING
    assert ending.again == (ending.state is State.NEW) == (ending.run_at is not None)
    assert ending.run_at is None or ending.run_at >= NOW
    assert (ending.output is not None) == (ending.state is State.COMPLETED)
    assert ending.attempt in (number, number - 1)


@given(SPECS, st.none() | st.integers(0, 5), st.lists(OUTCOMES, min_size=20, max_size=20), CHANCES)
def test_a_job_is_started_a_bounded_number_of_times(
    spec: CommandSpec | None, override: int | None, outcomes: list[Outcome], chance: float
) -> None:
    """P6: whatever happens to it; only what does not count may come as often as it likes."""
    retries = override if override is not None else spec.backoff.retries if spec else 0
    starts, number = 0, 1
    for outcome in outcomes:
        starts += not isinstance(outcome, Snoozed | Returned)
        ending = after(attempt(number, retries=override), outcome, spec, now=NOW, chance=chance)
        if not ending.again:
            break
        number = ending.attempt + 1
    assert starts <= 1 + max(retries, HOUSE_RETRIES)
    if spec is not None and spec.once:
        assert starts <= 1
