"""Which slots are fired and which were missed, after any pause."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.model.cron import COUNT_MAX, cron
from stoker.schedule.owed import NOTHING, Gap, Owed, owed

MINUTE = cron("* * * * *", "UTC")
T = 1_800_000_000.0
GRACE = 60.0


def test_nothing_is_owed_before_its_moment() -> None:
    assert owed(MINUTE, T, T + 59.9, GRACE, 0) == NOTHING


@pytest.mark.parametrize("catch_up", [0, 1, 5])
def test_a_slot_on_time_is_fired(catch_up: int) -> None:
    assert owed(MINUTE, T, T + 60, GRACE, catch_up) == Owed([T + 60])
    assert owed(MINUTE, T, T + 119, GRACE, catch_up) == Owed([T + 60])


def test_after_three_hours_by_policy() -> None:
    """Bugs django-celery-beat#459 and posthog#42607: skip, one, or all up to a number; the rest is told as missed."""
    until = T + 3 * 3600 + 90
    last = T + 3 * 3600 + 60
    assert owed(MINUTE, T, until, GRACE, 0) == Owed([last], Gap(T + 60, last - 60, COUNT_MAX))
    assert owed(MINUTE, T, until, GRACE, 1).fire == [last]
    five = owed(MINUTE, T, until, GRACE, 5)
    assert (five.fire, five.late) == ([last - 240, last - 180, last - 120, last - 60, last], 4)
    every = owed(MINUTE, T, until, GRACE, 1000)
    assert (len(every.fire), every.gap) == (181, None)


def test_what_is_late_and_not_caught_up_is_a_gap_alone() -> None:
    daily = cron("0 3 * * *", "UTC")
    found = owed(daily, T, T + 86400, GRACE, 0)
    assert found.fire == []
    assert found.gap is not None
    assert (found.gap.first, found.gap.slots) == (found.gap.last, 1)
    one = owed(daily, T, T + 86400, GRACE, 1)
    assert (len(one.fire), one.late, one.gap) == (1, 1, None)


@settings(max_examples=40)
@given(
    text=st.sampled_from(["* * * * *", "*/7 * * * *", "0 */3 * * *", "30 2 * * *", "*/9 * * * * *"]),
    span=st.floats(0, 15_000), grace=st.sampled_from([0.0, 60.0, 600.0]), catch_up=st.sampled_from([0, 1, 3, 1000]),
)  # fmt: skip
def test_every_slot_is_fired_or_missed_and_none_is_both(text: str, span: float, grace: float, catch_up: int) -> None:
    one = cron(text, "America/Chicago")
    found = owed(one, T, T + span, grace, catch_up)
    expected = one.newest(T, T + span, 1_000_000)
    gap = [] if found.gap is None else one.newest(found.gap.first - 0.5, found.gap.last, 1_000_000)
    if catch_up <= 1000 and len(found.fire) < 1000:
        assert gap + found.fire == expected
    on_time = [at for at in expected if at > T + span - grace]
    assert found.fire[len(found.fire) - len(on_time) :] == on_time
    if found.gap is not None:
        assert found.gap.slots == min(len(gap), COUNT_MAX)
