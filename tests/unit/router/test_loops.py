"""How busy a loop was is over the same time as its share of jobs, whenever it was asked."""

from __future__ import annotations

import pytest

from stoker.router.stats.loops import EventLoop, MainThread
from stoker.wire.frames import Vitals


def vitals(lived: float, spent: float) -> Vitals:
    return Vitals(0, None, None, lived, lived - spent)


def test_a_long_rest_is_not_spread_over_what_came_after() -> None:
    """A worker that idled for an hour, with a task of its own now and then, and has worked for two seconds since."""
    loop = EventLoop(begun=0.0)
    assert loop.look(vitals(5, 1), 5, 20.0, moved=True) == pytest.approx(20)
    for at in range(10, 3600, 5):
        assert loop.look(loop._heard, at, 0.0, moved=True) == 0.0
    assert loop.look(vitals(3602, 180), 3602, 80.0, moved=True) is None
    assert loop.look(vitals(3604, 181), 3604, 80.0, moved=True) == pytest.approx(50)


def test_a_rest_that_somebody_looks_at_is_one() -> None:
    loop = EventLoop(begun=0.0)
    loop.look(None, 5, 0.0, moved=True)
    assert loop.look(vitals(10, 1), 10, 0.0, moved=True) == pytest.approx(10)


def test_two_looks_at_once_are_one() -> None:
    loop = EventLoop(begun=0.0)
    first = loop.look(vitals(5, 1), 5, 20.0, moved=True)
    assert loop.look(vitals(5.1, 1.1), 5.1, 20.0, moved=False) == first
    assert loop.look(vitals(10, 3.5), 10, 20.0, moved=True) == pytest.approx(50)


def test_a_main_thread_is_busy_while_it_has_a_job() -> None:
    """Also in the middle of one, when it cannot answer; what it says later is counted once."""
    thread = MainThread()
    assert thread.seconds(None, 3.0, 3.0) == 3.0
    assert thread.seconds(heard := vitals(10, 3.2), 4.0, 3.0) == pytest.approx(4.2)
    assert thread.seconds(heard, 8.0, 8.0) == pytest.approx(8.2)
    assert thread.seconds(vitals(20, 9), 9.5, 9.5) == pytest.approx(9)
