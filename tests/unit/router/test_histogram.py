"""Histograms: percentiles to within a tenth, differences, and what is stored of them."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.router.stats.histogram import BOUNDS, FLOOR, Histogram

DURATIONS = st.floats(min_value=0.0, max_value=1e4, allow_nan=False)


def of(*seconds: float) -> Histogram:
    made = Histogram()
    for one in seconds:
        made.observe(one)
    return made


@pytest.mark.parametrize("seconds", [1.1e-5, 0.0003, 0.02, 0.5, 1.0, 4.0, 77.0, 5000.0])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1.0])
def test_what_all_took_is_every_percentile(seconds: float, share: float) -> None:
    assert of(*[seconds] * 7).percentile(share) == pytest.approx(seconds, rel=0.19)
    assert of(seconds).percentile(share) == pytest.approx(seconds, rel=0.1)


def test_percentiles_of_many_are_those_of_the_sorted_list() -> None:
    dice = random.Random(7)
    seconds = sorted(dice.lognormvariate(-4, 2) for _ in range(10_000))
    found = of(*seconds)
    for share in (0.05, 0.5, 0.9, 0.95, 0.99):
        assert found.percentile(share) == pytest.approx(seconds[int(share * len(seconds))], rel=0.1)
    assert found.sum == pytest.approx(sum(seconds))


def test_nothing_has_no_percentiles() -> None:
    assert of().percentile(0.5) is None
    assert of().summary() == {"count": 0, "mean": None, "p50": None, "p95": None, "p99": None}


def test_the_bounds_are_where_prometheus_wants_them() -> None:
    """A duration that is a bound belongs below it, one just above does not."""
    cumulative = dict(of(0.0, FLOOR, 2 * FLOOR, 2.1 * FLOOR, 1e9).cumulative())
    assert cumulative[FLOOR] == 2
    assert cumulative[2 * FLOOR] == 3
    assert cumulative[4 * FLOOR] == 4
    assert cumulative[math.inf] == 5
    assert list(cumulative) == sorted(cumulative)


def test_a_clock_that_was_set_back_is_nothing() -> None:
    found = of(-5.0, 1.0)
    assert (found.count, found.sum) == (2, 1.0)
    assert found.counts[0] == 1


def test_what_takes_for_ever_is_more_than_the_last_bound() -> None:
    assert of(1e9).percentile(0.5) == BOUNDS[-1]


@given(st.lists(DURATIONS, max_size=50), st.lists(DURATIONS, max_size=50))
def test_the_difference_is_what_came_in_between(before: list[float], after: list[float]) -> None:
    found = of(*before)
    then = found.copy()
    for one in after:
        found.observe(one)
    assert found.since(then).counts == of(*after).counts
    assert found.since(None).counts == found.counts
    assert then.counts == of(*before).counts, "a copy is a copy"


@given(st.lists(DURATIONS, max_size=50))
def test_stored_and_read_again(seconds: list[float]) -> None:
    found = of(*seconds)
    again = Histogram.unpacked(msgspec.json.decode(msgspec.json.encode(found.packed())))
    assert again.counts == found.counts
    assert again.sum == pytest.approx(found.sum, abs=1e-6)
