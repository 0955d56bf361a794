"""A run's pipeline, step by step: the checks before the handler, its value after it, and what is left to do then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from stoker import CancelRequested, Context
from stoker.model.errors import AppError
from stoker.model.outcome import Done, Failed, Fault, Outcome, Retry
from stoker.run.executor import Run, execute
from stoker.wire.frames import Ended
from tests.unit.run.bench import RESULT_MAX, KeptLine, assign, outcome, outcome_async, started

Ends = Callable[..., Outcome]


# ── what comes before and after the handler ──────────────────────────────────────────────────────────────────────────


def add(a: int, b: int = 2) -> int:
    return a + b


async def add_later(a: int, b: int = 2) -> int:
    await asyncio.sleep(0)
    return a + b


@pytest.mark.parametrize(("ends", "handler"), [(outcome, add), (outcome, add_later), (outcome_async, add_later)])
def test_a_handlers_value_is_the_result(ends: Ends, handler: Callable[..., Any]) -> None:
    assert ends(handler, b'{"a":1}') == Done(b"3")


@pytest.mark.parametrize(("ends", "handler"), [(outcome, add), (outcome_async, add_later)])
def test_input_that_does_not_fit_is_a_failure_that_another_attempt_would_not_mend(
    ends: Ends, handler: Callable[..., Any]
) -> None:
    found = ends(handler, b'{"a":"x"}', retries=5)
    assert isinstance(found, Failed)
    assert found.fault.type == "InvalidInput"
    assert found.fault.message.startswith("a: ")


def lies() -> int:
    return "five"  # type: ignore[return-value]


def floods() -> str:
    return "x" * RESULT_MAX


def test_a_value_that_is_not_what_was_declared_is_a_failure() -> None:
    found = outcome(lies)
    assert isinstance(found, Failed)
    assert found.fault.type == "InvalidOutput"


def test_a_result_that_is_too_large_is_a_failure_that_says_what_to_do() -> None:
    found = outcome(floods)
    assert isinstance(found, Failed)
    assert found.fault.type == "ResultTooLarge"
    assert "write it to a file" in found.fault.message


def test_a_command_that_nobody_registers_is_a_failure() -> None:
    run = Run(assign(command="os.system"), KeptLine(), RESULT_MAX)
    execute(run, dict)
    assert run.outcome == Failed(Fault("UnknownCommand", "no product registers 'os.system'"))


def test_code_that_is_broken_since_is_a_failure() -> None:
    def broken() -> dict[str, Any]:
        raise AppError("shop: SyntaxError (shop.py, line 3)")

    run = Run(assign(), KeptLine(), RESULT_MAX)
    execute(run, broken)
    assert run.outcome == Failed(Fault("AppError", "shop: SyntaxError (shop.py, line 3)"))


def test_the_limit_is_set_after_the_checks_and_before_the_handler() -> None:
    steps: list[str] = []

    def handler(a: int) -> None:
        steps.append("handler")

    run, commands = started(handler, b'{"a":1}')
    execute(run, lambda: commands, lambda: steps.append("limit"))
    wrong, commands = started(handler, b"{}")
    execute(wrong, lambda: commands, lambda: steps.append("limit of the wrong one"))
    assert steps == ["limit", "handler"]


def tells(ctx: Context, name: str) -> str:
    return f"{name} for {ctx.user}: {ctx.job} {ctx.attempt} {ctx.tags}"


def test_the_context_is_that_of_the_run() -> None:
    assert outcome(tells, b'{"name":"x"}') == Done(b"\"x for u7: parent 1 ('t',)\"")


# ── clean-ups and what was put off ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [None, ValueError("wrong"), SystemExit(1), CancelRequested("stop")], ids=repr)
def test_clean_ups_run_however_it_ends(error: BaseException | None) -> None:
    steps: list[str] = []

    def handler(ctx: Context) -> None:
        ctx.cleanup(lambda: steps.append("first"))
        ctx.cleanup(lambda: steps.append("second"))
        if error is not None:
            raise error

    outcome(handler)
    assert steps == ["second", "first"]


def test_a_clean_up_that_fails_fails_the_job_and_spares_the_others() -> None:
    steps: list[str] = []

    def handler(ctx: Context) -> None:
        ctx.cleanup(lambda: steps.append("first"))
        ctx.cleanup(lambda: 1 / 0)

    found = outcome(handler)
    assert isinstance(found, Retry)
    assert (found.fault.type, found.fault.message) == ("ZeroDivisionError", "division by zero")
    assert steps == ["first"]


def test_what_is_put_off_runs_after_the_handler_and_before_the_clean_ups() -> None:
    """V71: current code first, then the deferred; also what the deferred puts off."""
    steps: list[str] = []

    def handler(ctx: Context) -> None:
        ctx.cleanup(lambda: steps.append("clean-up"))

        def later() -> None:
            steps.append("later")
            ctx.later(lambda: steps.append("later still"))

        ctx.later(later)
        steps.append("handler")

    assert outcome(handler) == Done(b"null")
    assert steps == ["handler", "later", "later still", "clean-up"]


def test_what_a_coroutine_puts_off_runs_on_the_next_turn_of_the_loop() -> None:
    steps: list[str] = []

    async def handler(ctx: Context) -> None:
        ctx.later(lambda: steps.append("later"))
        steps.append("now")
        await asyncio.sleep(0)
        steps.append("after")

    assert outcome_async(handler) == Done(b"null")
    assert steps == ["now", "later", "after"]


def test_what_a_thread_of_a_coroutine_puts_off_runs_too() -> None:
    steps: list[str] = []

    async def handler(ctx: Context) -> None:
        await asyncio.to_thread(ctx.later, lambda: steps.append("later"))
        steps.append("now")

    assert outcome_async(handler) == Done(b"null")
    assert steps == ["now", "later"]


def test_what_is_reported_says_when_the_handler_was_entered() -> None:
    run, commands = started(add, b'{"a":1}')
    before = time.time()
    execute(run, lambda: commands)
    ended = run.ended
    assert ended == Ended(1, Done(b"3"), run.started, (), ended.seconds)
    assert ended.seconds is not None
    assert 0 <= ended.seconds < 60
    assert before <= run.started <= time.time()
