"""Check-ins of a run, in a process, a thread or a task: it counts by what it said."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from stoker import Snooze
from stoker.crons import check_in, check_out
from stoker.model.outcome import Done, Outcome, Retry, Snoozed
from stoker.run import joblog
from stoker.run.executor import execute, execute_async
from stoker.wire.frames import Checked
from tests.unit.run.bench import started


def run(handler: Callable[..., Any], *, task: bool = False) -> tuple[Outcome, list[tuple[str, str]]]:
    """How a run ends, and what was told of its check-ins, under one id for each."""
    one, commands = started(handler)

    def carry_out() -> None:
        joblog.belongs_to(one.context)
        if task:
            asyncio.run(execute_async(one, lambda: commands))
        else:
            execute(one, lambda: commands)

    contextvars.copy_context().run(carry_out)
    assert one.outcome is not None
    told = [frame for frame in one.context._line.sent if isinstance(frame, Checked)]  # type: ignore[attr-defined]
    assert len({frame.id for frame in told}) * 2 == len(told)
    assert all((frame.seconds is None) == (frame.status == "in_progress") for frame in told)
    return one.outcome, [(frame.slug, frame.status) for frame in told]


def well() -> None:
    check_in("a")
    check_in("b")
    check_out()
    check_out()


def bad() -> None:
    check_in("a")
    check_out("error")


def never() -> None:
    check_in("a")


def raises() -> None:
    check_in("a")
    raise KeyError("of its own")


def snoozes() -> None:
    check_in("a")
    check_out("error")
    raise Snooze(5)


@pytest.mark.parametrize("task", [False, True])
@pytest.mark.parametrize(
    ("handler", "ends", "said", "told"),
    [
        (well, Done, "", [("a", "in_progress"), ("b", "in_progress"), ("b", "ok"), ("a", "ok")]),
        (bad, Retry, "it checked out of 'a' with error", [("a", "in_progress"), ("a", "error")]),
        (never, Retry, "it checked in to 'a' and never out", [("a", "in_progress"), ("a", "error")]),
        (raises, Retry, "of its own", [("a", "in_progress"), ("a", "error")]),
        (snoozes, Snoozed, "", [("a", "in_progress"), ("a", "error")]),
    ],
)
def test_a_run_counts_by_what_it_said(
    handler: Callable[[], None], ends: type, said: str, told: list[tuple[str, str]], task: bool
) -> None:
    async def coroutine() -> None:
        await asyncio.sleep(0)
        handler()

    outcome, found = run(coroutine if task else handler, task=task)
    assert isinstance(outcome, ends), outcome
    assert said in str(getattr(outcome, "fault", ""))
    assert found == told


def test_two_runs_of_one_process_know_nothing_of_each_other() -> None:
    run(never)
    outcome, _ = run(bad)
    assert isinstance(outcome, Retry)
    assert "checked out" in outcome.fault.message

    def out() -> None:
        check_out()

    outcome, told = run(out)
    assert isinstance(outcome, Retry)
    assert (outcome.fault.message, told) == ("check_out() without check_in()", [])


def test_a_script_by_itself_only_logs_it(capsys: pytest.CaptureFixture[str]) -> None:
    contextvars.Context().run(well)
    said = capsys.readouterr().err
    assert said.count("CHECK_IN in_progress") == said.count("CHECK_OUT ok") == 2


@pytest.mark.parametrize(("slug", "status"), [("a", "maybe"), (" ", "ok"), ("", "ok")])
def test_what_is_no_check_in_is_said(slug: str, status: str) -> None:
    def wrong() -> None:
        check_in(slug)
        check_out(status)

    with pytest.raises(ValueError, match=r"a check-out is|the name of a monitor"):
        contextvars.Context().run(wrong)
