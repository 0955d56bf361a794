"""What becomes of the jobs of a worker that was killed, by the page that says which of them it was at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from stoker.model.command import CommandSpec
from stoker.model.job import Claimed, Overrides
from stoker.model.outcome import Blame, Fault, Lost, Outcome, Returned
from stoker.router.jobs.attempt import Attempt
from stoker.router.pools.resident import NOT_BEGUN, Resident

KILLED = Lost(Fault("Killed", "signal 9"), Blame.HOUSE)


def attempt(run: int) -> Attempt:
    job = Claimed(run, str(run), "shop.pack", b"{}", 1, 1, None, (), Overrides(), 0.0)
    return Attempt(run, job, CommandSpec(name="shop.pack"), memory=None, max_output=1, born=0.0, on_said=lambda _: None)


def fates(left: list[Attempt], at: int) -> list[Outcome]:
    worker: Any = SimpleNamespace(alone=True, _page=SimpleNamespace(run=at, close=lambda: None))
    return [fate for _, fate in Resident.fates(worker, left, KILLED)]


def test_the_one_it_was_at_is_lost_and_those_behind_have_not_begun() -> None:
    first, second, third = fates([attempt(1), attempt(2), attempt(3)], at=2)
    assert isinstance(first, Lost)
    assert (first.fault.message, second, third) == (
        "its worker died before it told how the job ended", KILLED, NOT_BEGUN
    )  # fmt: skip


def test_a_daemon_that_leaves_in_a_hurry_gives_back_also_those_whose_end_was_not_told_yet() -> None:
    left = [attempt(1), attempt(2), attempt(3)]
    for each in left:
        each.returned(Returned())
    assert fates(left, at=2) == [Returned(), Returned(), NOT_BEGUN]
