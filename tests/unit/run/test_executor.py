"""A run's pipeline: every way a handler can end has one outcome, in a process as in a task."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from stoker import Cancel, CancelRequested, Retry, Snooze, TimeLimitExceeded
from stoker.model import outcome as outcomes
from stoker.model.interrupt import DaemonGone
from stoker.model.outcome import Blame, Cancelled, Failed, Fault, Lost, Outcome, Snoozed
from stoker.run import executor
from stoker.run.executor import Run, execute, execute_async
from stoker.run.stopping import interruption
from stoker.wire import frames
from stoker.wire.frames import Decoder, Interrupt
from tests.unit.run.bench import assign, outcome, outcome_async, started

Ends = Callable[..., Outcome]


class Weird(BaseException):
    """What no handler should raise, and one will."""


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even its text fails")


def raising(error: BaseException) -> tuple[Callable[[], None], Callable[[], Any]]:
    """A handler that raises, as a function and as a coroutine."""

    def handler() -> None:
        raise error

    async def coroutine() -> None:
        await asyncio.sleep(0)
        raise error

    return handler, coroutine


def ends_as(found: Outcome) -> tuple[type, Any]:
    """The kind of an outcome and what matters of it."""
    match found:
        case outcomes.Retry(fault, after):
            return outcomes.Retry, (fault.type, fault.message, after)
        case Failed(fault):
            return Failed, (fault.type, fault.message)
        case Lost(fault, blame):
            return Lost, (fault.type, blame)
        case Cancelled(reason):
            return Cancelled, reason
        case Snoozed(after, reason):
            return Snoozed, (after, reason)
    raise AssertionError(found)


RAISED: list[tuple[BaseException, tuple[type, Any]]] = [
    (ValueError("wrong"), (outcomes.Retry, ("ValueError", "wrong", None))),
    (KeyError("k"), (outcomes.Retry, ("KeyError", "'k'", None))),
    (MemoryError(), (outcomes.Retry, ("MemoryError", "", None))),
    (RecursionError("deep"), (outcomes.Retry, ("RecursionError", "deep", None))),
    (Retry("busy", after="5m"), (outcomes.Retry, ("Retry", "busy", 300.0))),
    (Retry(), (outcomes.Retry, ("Retry", "retry asked for", None))),
    (Snooze("1h", "later"), (Snoozed, (3600.0, "later"))),
    (Snooze(0), (Snoozed, (0.0, None))),
    (Cancel("no use"), (Cancelled, "no use")),
    (TimeLimitExceeded("too long"), (outcomes.Retry, ("TimeLimit", "too long", None))),
    (CancelRequested("not wanted"), (Cancelled, "not wanted")),
    (DaemonGone("gone"), (Lost, ("DaemonGone", Blame.HOUSE))),
    (SystemExit(0), (Lost, ("SystemExit", Blame.JOB))),
    (SystemExit("bye"), (Lost, ("SystemExit", Blame.JOB))),
    (asyncio.CancelledError(), (Cancelled, "the handler's task was cancelled")),
    (Weird("odd"), (Failed, ("Weird", "odd"))),
    (BaseExceptionGroup("several", [Weird()]), (Failed, ("BaseExceptionGroup", "several (1 sub-exception)"))),
    (ExceptionGroup("two", [OSError()]), (outcomes.Retry, ("ExceptionGroup", "two (1 sub-exception)", None))),
]


@pytest.mark.parametrize(("error", "expected"), RAISED, ids=[type(error).__name__ for error, _ in RAISED])
def test_what_each_exception_means(error: BaseException, expected: tuple[type, Any]) -> None:
    handler, coroutine = raising(error)
    assert ends_as(outcome(handler)) == expected
    assert ends_as(outcome(coroutine)) == expected
    if not isinstance(error, SystemExit):
        assert ends_as(outcome_async(coroutine)) == expected


def test_an_exception_whose_text_fails_is_a_failure_all_the_same() -> None:
    handler, _ = raising(Unspeakable())
    found = outcome(handler)
    assert isinstance(found, outcomes.Retry)
    assert found.fault.type == "Unspeakable"
    assert "RuntimeError" in found.fault.message


ODD_TEXT = "caf\udce9.txt"
"""The name of a file written in Latin-1, as Python reads it from a folder."""
TEXTS = [FileNotFoundError(ODD_TEXT), Retry(ODD_TEXT), Cancel(ODD_TEXT), Snooze(1, ODD_TEXT), ValueError("x" * 10**6)]


@pytest.mark.parametrize("error", TEXTS, ids=["file", "retry", "cancel", "snooze", "long"])
def test_any_text_can_be_sent(error: Exception) -> None:
    handler, _ = raising(error)
    run, commands = started(handler)
    execute(run, lambda: commands)
    ended = run.ended
    data = frames.encode([ended])
    assert Decoder(frames.FROM_RUNNER).feed(data) == [ended]
    assert len(data) < 2 * (executor.MESSAGE_MAX + executor.TRACEBACK_MAX)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(OSError(), outcomes.Retry), (FileNotFoundError(), Failed), (ValueError(), Failed), (Retry(), outcomes.Retry)],
    ids=["listed", "excluded", "not listed", "asked for"],
)
def test_which_exceptions_are_tried_again(error: Exception, kind: type) -> None:
    handler, _ = raising(error)
    assert type(outcome(handler, retry_on=OSError, never_retry=FileNotFoundError)) is kind


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()], ids=["keyboard", "generator"])
def test_what_ends_the_process_is_not_held_up(error: BaseException) -> None:
    handler, _ = raising(error)
    with pytest.raises(type(error)):
        outcome(handler)


def test_too_much_memory_is_named_where_there_is_a_limit() -> None:
    handler, _ = raising(MemoryError())
    run, commands = started(handler)
    run.assign = assign(memory=64 << 20)
    execute(run, lambda: commands)
    assert isinstance(run.outcome, outcomes.Retry)
    assert (run.outcome.fault.type, run.outcome.fault.message) == ("MemoryLimit", "memory 64.0 MB exceeded")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("timeout", (outcomes.Retry, ("TimeLimit", "why", None))), ("cancel", (Cancelled, "why"))],
)
def test_a_task_that_was_interrupted_ends_as_it_was_interrupted(kind: str, expected: tuple[type, Any]) -> None:
    async def sleeps() -> None:
        await asyncio.sleep(60)

    async def body() -> Run:
        run, commands = started(sleeps)
        task = asyncio.create_task(execute_async(run, lambda: commands))
        await asyncio.sleep(0)
        run.interrupted = interruption(Interrupt(1, kind, "why"))
        task.cancel()
        await task
        return run

    run = asyncio.run(body())
    assert run.outcome is not None
    assert ends_as(run.outcome) == expected


# ── the trace that is left ───────────────────────────────────────────────────────────────────────────────────────────


def deep() -> None:
    def deeper() -> None:
        os.stat("/nowhere/at/all")

    deeper()


def endless() -> None:
    endless()


def fault_of(handler: Callable[..., Any]) -> Fault:
    found = outcome(handler)
    assert isinstance(found, outcomes.Retry)
    return found.fault


def test_a_traceback_begins_in_the_handler() -> None:
    trace = fault_of(deep).traceback or ""
    assert "in deeper" in trace
    assert "/nowhere/at/all" in trace
    assert executor.__file__ not in trace


def test_a_traceback_is_bounded_and_keeps_its_end() -> None:
    def huge() -> None:
        raise ValueError("x" * 100_000 + " the end")

    for handler in (huge, endless):
        trace = fault_of(handler).traceback or ""
        assert len(trace) <= executor.TRACEBACK_MAX
    assert (fault_of(huge).traceback or "").rstrip().endswith("the end")


def test_no_frame_of_a_failed_handler_is_kept_alive() -> None:
    """A resident runs many jobs: what one had in memory must be gone after it."""
    freed: list[str] = []

    class Large:
        def __del__(self) -> None:
            freed.append("gone")

    def handler() -> None:
        large = Large()
        raise ValueError(type(large).__name__)

    found = outcome(handler)
    assert isinstance(found, outcomes.Retry)
    assert sys.exc_info() == (None, None, None)
    assert freed == ["gone"]
