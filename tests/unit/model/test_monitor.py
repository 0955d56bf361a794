"""What the health of a schedule follows from, and what is told of it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from stoker.model import alert as alerts
from stoker.model import monitor
from stoker.model.cron import cron
from stoker.model.job import Job, Overrides, State, Waits
from stoker.model.monitor import Change, Health, Mark, Rules, Run
from stoker.model.outcome import Fault
from stoker.model.slot import Fate, Line, Slot

RULES = Rules(margin=60.0, longest=600.0, slug="nightly")
HOUR = 3600.0
START = 1_000 * HOUR
NIGHTLY = cron("0 * * * *", "UTC")


def slot(number: int, fate: Fate = Fate.FIRED, count: int = 1) -> Slot:
    at = START + number * HOUR
    return Slot(
        line=Line("nightly"), slot=at, first=at - (count - 1) * HOUR, count=count, at=at, fate=fate,
        job=f"job{number}" if fate is Fate.FIRED else None, reason="", decider="a",
    )  # fmt: skip


def run(number: int, state: State = State.COMPLETED, *, wait: float = 1.0, took: float = 5.0, attempt: int = 1) -> Run:
    found = slot(number)
    begun = None if state is State.NEW else found.slot + wait
    ended = begun + took if begun is not None and state.ended else None
    fault = Fault(type="ValueError", message="no") if state is State.FAILED else None
    return Run(found, _job(found, state, begun, ended, fault, attempt))


def _job(found: Slot, state: State, begun: float | None, ended: float | None, fault: Any, attempt: int) -> Job:
    return Job(
        seq=1, id=found.job or "", command="cron.script", state=state, waits=Waits.SLOT, priority=0,
        created=found.slot, updated=found.slot, run_at=found.slot, expires=None, started=begun, finished=ended,
        attempt=attempt if begun is not None else 0, fence=1, owner=None, user=None, tags=(), key=None, unique=None,
        progress=None, fault=fault, cancel=None, overrides=Overrides(), input=b"{}", output=None,
    )  # fmt: skip


FAILED, NEW, RUNNING = State.FAILED, State.NEW, State.RUNNING


def after(number: int) -> float:
    """Ten seconds after a slot."""
    return START + number * HOUR + 10


@pytest.mark.parametrize(
    ("made", "seconds", "wanted"),
    [
        (run(0), 100, Mark.OK),
        (run(0, wait=61), 100, Mark.LATE),
        (run(0, wait=61, attempt=2), 100, Mark.OK),
        (run(0, FAILED), 100, Mark.FAILED),
        (run(0, State.CANCELLED), 100, Mark.SKIPPED),
        (run(0, NEW), 10, Mark.RUNNING),
        (run(0, NEW), 61, Mark.LATE),
        (run(0, RUNNING), 100, Mark.RUNNING),
        (run(0, RUNNING, wait=70), 100, Mark.LATE),
        (Run(slot(0, Fate.MISSED), None), 1, Mark.MISSED),
        (Run(slot(0, Fate.REFUSED), None), 1, Mark.MISSED),
        (Run(slot(0, Fate.SKIPPED), None), 1, Mark.SKIPPED),
        (Run(slot(0, Fate.PAUSED), None), 1, Mark.PAUSED),
        (Run(slot(0), None), 1, Mark.UNKNOWN),
    ],
)
def test_each_slot_has_a_mark(made: Run, seconds: float, wanted: Mark) -> None:
    assert monitor.mark(made, RULES, START + seconds) is wanted


def judged(runs: list[Run], now: float, rules: Rules = RULES, **more: Any) -> Change | None:
    return monitor.judge(runs, rules, now, whole=True, **more)


def test_what_was_always_well_never_changed() -> None:
    assert judged([run(0), run(1), run(2)], after(2)) is None
    assert judged([], START) is None


def test_a_failure_and_its_end_are_one_change_each() -> None:
    runs = [run(0), run(1, FAILED), run(2, FAILED)]
    found = judged(runs, after(2))
    assert found is not None
    assert (found.health, found.before, found.since, found.job) == (Health.FAILING, Health.OK, START + HOUR, "job1")
    assert "ValueError: no" in found.why
    found = judged([*runs, run(3)], after(3))
    assert found is not None
    assert (found.health, found.before, found.since) == (Health.OK, Health.FAILING, START + 3 * HOUR)


def test_so_many_failures_in_a_row_are_an_alarm() -> None:
    rules = Rules(margin=60.0, failures=3)
    assert judged([run(0, FAILED), run(1, FAILED), run(2), run(3, FAILED)], after(3), rules) is None
    found = judged([run(0, FAILED), run(1, FAILED), run(2, FAILED), run(3, FAILED)], after(3), rules)
    assert found is not None
    assert (found.health, found.since) == (Health.FAILING, START + 2 * HOUR)


def test_late_and_too_long_are_noticed_while_they_last() -> None:
    found = judged([run(0), run(1, NEW)], START + HOUR + 61)
    assert found is not None
    assert (found.health, found.since) == (Health.LATE, START + HOUR)
    assert judged([run(0), run(1, RUNNING)], START + HOUR + 600) is None
    found = judged([run(0), run(1, RUNNING)], START + HOUR + 602)
    assert found is not None
    assert found.health is Health.TOO_LONG
    found = judged([run(0), run(1, took=700.0)], after(2))
    assert found is not None
    assert (found.health, found.before) == (Health.OK, Health.TOO_LONG)


def test_what_nobody_decided_is_missed_and_the_record_of_it_changes_nothing() -> None:
    last = START
    assert monitor.overdue(NIGHTLY, last, 0.0, RULES, START + HOUR + 59) is None
    late = monitor.overdue(NIGHTLY, last, 0.0, RULES, START + HOUR + 61)
    assert late == START + HOUR
    found = judged([run(0)], START + HOUR + 61, overdue=late)
    assert found is not None
    assert (found.health, found.since) == (Health.MISSED, START + HOUR)
    # the node comes back after two more, and records the gap
    gap = Run(slot(3, Fate.MISSED, count=3), None)
    recorded = judged([run(0), gap], after(3))
    assert recorded is not None
    assert (recorded.health, recorded.since) == (Health.MISSED, START + HOUR)


def test_what_lies_before_the_window_is_not_told_again() -> None:
    """A failure of weeks has its beginning outside of what is looked at; a window that moves on finds no new one."""
    everything = [run(number, FAILED) for number in range(60)]
    told = set()
    for end in range(20, 60):
        found = monitor.judge(everything[end - 20 : end], RULES, after(end - 1), whole=False)
        assert found is not None
        assert found.before is None
        assert alerts.alert("nightly", "", found, after(end - 1), 0.0) is None
        again = alerts.alert("nightly", "", found, after(end - 1), 86400.0)
        assert again is not None
        told.add(again.id)
    assert len(told) == 3  # these forty hours are of three days, with a reminder each


def test_one_alert_is_one_whoever_tells_it_and_when() -> None:
    change = Change(Health.FAILING, Health.OK, START, "a run has failed", "job0")
    ids = {
        made.id
        for now in (START + 1, START + 5000)
        if (made := alerts.alert("nightly", "", change, now, 86400.0)) is not None
    }
    assert len(ids) == 1
    later = alerts.alert("nightly", "", change, START + 86401, 86400.0)
    assert later is not None
    assert later.id not in ids
    assert (later.reminder, later.title) == (1, "nightly is failing, still")
    assert alerts.next_reminder(change, START + 1, 86400.0) == START + 86400
    well = Change(Health.OK, Health.FAILING, START, "", None)
    assert alerts.next_reminder(well, START + 1, 86400.0) is None
    made = alerts.alert("nightly", "", well, START + 9e6, 86400.0)
    assert made is not None
    assert made.title == "nightly is well again"


def test_the_next_look_is_when_something_may_change() -> None:
    def at(runs: list[Run], last: float, now: float) -> float:
        return monitor.look_again(runs, NIGHTLY, last, 0.0, RULES, now) - START

    assert at([run(0)], START, START + 10) == HOUR + 60
    assert at([run(0, RUNNING)], START, START + 10) == 601
    assert at([run(0, NEW)], START, START + 10) == 60
    assert at([run(0)], START, START + 5 * HOUR + 61) == 6 * HOUR + 60  # missed: looked at once more after each slot


def test_the_calendar_has_each_slot_once() -> None:
    runs = [run(1), run(2, FAILED), Run(slot(4, Fate.MISSED, count=2), None)]
    found = list(
        monitor.calendar(
            runs, NIGHTLY, START + 4 * HOUR, START + HOUR, RULES, START + 5 * HOUR + 61, START, START + 8 * HOUR, 100
        )
    )
    marks = [(int((at - START) / HOUR), count, str(mark)) for at, _, count, mark, _ in found]
    assert marks == [
        (1, 1, "ok"), (2, 1, "failed"), (4, 2, "missed"), (5, 1, "missed"), (6, 1, "not_due"), (7, 1, "not_due"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("yes", "true, false or a table"),
        ({"margin": 0}, "margin"),
        ({"longest": "soon"}, "soon"),
        ({"failures": True}, "failures"),
        ({"failures": 101}, "failures"),
        ({"slug": "a b"}, "slug"),
        ({"slug": "ö"}, "slug"),
        ({"slugs": "a"}, "no key 'slugs'"),
    ],
)
def test_rules_that_make_no_sense_are_refused(told: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        monitor.read_rules(told)


def test_rules_are_the_entrys_and_else_those_of_the_settings() -> None:
    told = monitor.read_rules({"margin": "2m", "slug": "x"})
    assert not isinstance(told, bool)
    assert monitor.rules(told, "Nightly sync", 300.0, 0.0, 2) == Rules(120.0, None, 2, "x")
    assert monitor.rules(True, "Nightly sync", 300.0, 60.0, 2) == Rules(300.0, 60.0, 2, "nightly-sync")


def test_slugs_differ_where_names_do() -> None:
    names = ["a" * 149 + end for end in "bc"] + ["ü", "ö", "x", "!", "?"]
    slugs = [monitor.slug_of(name) for name in names]
    assert all(0 < len(one) <= 50 and one.isascii() for one in slugs)
    assert not [pair for pair in itertools.combinations(slugs, 2) if pair[0] == pair[1]]
