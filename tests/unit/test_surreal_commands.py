"""What applications of ``surreal-commands`` import instead; on a workbench, and once with a real daemon."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest

from stoker import Context
from stoker.model.errors import AppError
from stoker.surreal_commands import (
    CommandInput,
    CommandOutput,
    CommandResult,
    CommandStatus,
    ExecutionContext,
    RetryConfig,
    RetryStrategy,
    command,
    execute_command_sync,
    record,
    submit_command,
    wait_for_command_sync,
)
from stoker.testing import Workbench, run_inline

APP = "open_notebook"


class Source(CommandInput):
    source_id: str
    embed: bool = True


class Processed(CommandOutput):
    success: bool
    source_id: str
    error_message: str | None = None


@command(APP, "process_source", timeout=300)
async def process_source(input_data: Source) -> Processed:
    """As the document writes it."""
    await asyncio.sleep(0)
    if input_data.source_id == "source:bad":
        return Processed(success=False, source_id=input_data.source_id, error_message="Could not extract content: bad")
    if input_data.source_id == "source:raise":
        raise RuntimeError("Rate limit exceeded")
    return Processed(success=True, source_id=input_data.source_id)


@command("whose", app="library_form", retry={"max_attempts": 3, "wait_strategy": "fixed", "wait_time": 2})
def whose(input_data: Source) -> dict[str, Any]:
    about = input_data.execution_context
    assert about is not None
    return {
        "id": about.command_id, "app": about.app_name, "name": about.command_name, "user": about.user_context,
        "started": str(about.execution_started_at),
    }  # fmt: skip


@command("plain")
def plain(text: str, times: int = 2) -> str:
    return text * times


@pytest.fixture
def bench() -> Any:
    with Workbench() as bench:
        bench.learn((process_source, whose, plain))
        yield bench


# ── registering ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_both_spellings_register() -> None:
    """O16, X6; an app that is not named is the handler's top package."""
    assert process_source.name == "open_notebook.process_source"
    assert process_source.spec.timeout == 300
    assert process_source.spec.is_async
    assert process_source.spec.doc == "As the document writes it."
    assert whose.name == "library_form.whose"
    assert plain.name == "tests.plain"


def test_a_handler_can_be_called_directly() -> None:
    """O20: it returns what it returns, with nothing filled in."""
    called: Any = process_source(Source(source_id="source:1"))
    assert asyncio.run(called) == Processed(success=True, source_id="source:1")
    assert plain("ab", times=3) == "ababab"


def test_the_same_name_twice_is_refused() -> None:
    """O30: in two apps it is two commands; in one it is a mistake."""

    @command("first_app", "same")
    def first() -> str:
        return "first"

    @command("second_app", "same")
    def second() -> str:
        return "second"

    with Workbench() as bench:
        bench.learn((first, second))
        assert [execute_command_sync(app, "same", {}).result for app in ("first_app", "second_app")] == [
            "first",
            "second",
        ]
    with pytest.raises(AppError, match=r"first_app\.same is registered twice"):

        @command("first_app", "same")
        def third() -> str:
            return "third"


def test_a_handler_that_cannot_be_typed_is_refused() -> None:
    with pytest.raises(AppError, match="cannot be typed"):

        @command("app_of_stars", "stars")
        def stars(*args: int) -> None:
            return None

    with pytest.raises(AppError, match="cannot resolve the annotation"):

        @command("app_of_riddles", "riddle")
        def riddle(input_data: Unheard) -> None:  # type: ignore[name-defined]  # noqa: F821 (what the test is about)
            return None


@pytest.mark.parametrize(
    ("retry", "retries", "base", "factor", "jitter"),
    [
        (RetryConfig(), 2, 2.0, 2.0, 0.0),
        (RetryConfig(max_attempts=5, wait_strategy=RetryStrategy.EXPONENTIAL_JITTER), 4, 2.0, 2.0, 0.5),
        ({"max_attempts": 2, "wait_strategy": "fixed", "wait_time": 7}, 1, 7.0, 1.0, 0.0),
        ({"wait_strategy": "random", "wait_min": 5, "wait_max": 20}, 2, 20.0, 1.0, 0.75),
        ({"enabled": False}, 0, 1.0, 2.0, 0.5),
        (None, 0, 1.0, 2.0, 0.5),
    ],
)
def test_retries_are_read_as_the_library_says_them(
    request: pytest.FixtureRequest, retry: Any, retries: int, base: float, factor: float, jitter: float
) -> None:
    @command("retried", f"number_{abs(hash(request.node.name))}", retry=retry)
    def handler() -> None:
        return None

    backoff = handler.spec.backoff
    assert (backoff.retries, backoff.base, backoff.factor, backoff.jitter) == (retries, base, factor, jitter)


def test_retries_by_environment_are_for_commands_that_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURREAL_COMMANDS_RETRY_MAX_ATTEMPTS", "9")

    @command("by_environment", "off")
    def off() -> None:
        return None

    monkeypatch.setenv("SURREAL_COMMANDS_RETRY_ENABLED", "true")

    @command("by_environment", "on", retry={"stop_on": [KeyError]})
    def on() -> None:
        return None

    @command("by_environment", "own", retry={"max_attempts": 2})
    def own() -> None:
        return None

    assert [one.spec.backoff.retries for one in (off, on, own)] == [0, 8, 1]
    assert not on.rules.worth(KeyError())
    assert on.rules.worth(ValueError())


# ── what goes into a handler, and what comes out ─────────────────────────────────────────────────────────────────────


def test_the_context_goes_in_and_the_traces_come_out(bench: Workbench) -> None:
    id = submit_command("library_form", "whose", {"source_id": "s"}, {"user_id": 7, "page": "inbox"})
    told = wait_for_command_sync(id).result
    assert told["id"] == id
    assert (told["app"], told["name"]) == ("library_form", "whose")
    assert told["user"] == {"user_id": "7", "page": "inbox"}
    assert datetime.fromisoformat(told["started"]).tzinfo is UTC
    assert bench.submitted[0].options["user"] == "7"
    assert record(id)["input"] == {"source_id": "s"}

    output = execute_command_sync(APP, "process_source", {"source_id": "source:1"}).result
    assert output["success"] is True
    assert output["command_id"].startswith("command:")
    assert output["execution_time"] >= 0
    assert output["execution_metadata"]["command_name"] == "process_source"


def test_nobody_can_pretend_to_be_another_job(bench: Workbench) -> None:
    forged = {"source_id": "s", "execution_context": {"command_id": "command:forged", "user_context": {"user_id": "1"}}}
    told = execute_command_sync("library_form", "whose", forged, {"user_id": "2"}).result
    assert told["id"] != "command:forged"
    assert told["user"]["user_id"] == "2"


def test_a_handler_may_fill_in_for_itself() -> None:
    @command("own_traces", "fill")
    def fill() -> CommandOutput:
        return CommandOutput(command_id="mine", execution_time=1.5, execution_metadata={})

    value = run_inline(fill).value
    assert (value.command_id, value.execution_time, value.execution_metadata) == ("mine", 1.5, {})


def test_the_context_may_be_a_parameter_and_stokers_own_beside_it() -> None:
    @command("with_contexts", "both")
    def both(number: int, execution_context: ExecutionContext, ctx: Context) -> str:
        ctx.progress(50)
        assert execution_context.command_id == f"command:{ctx.job}"
        return execution_context.command_name * number

    assert both.signature.parameters == ("number",)
    result = run_inline(both, number=2)
    assert (result.value, len(result.progress)) == ("bothboth", 1)


def test_models_are_pydantic_and_lean() -> None:
    assert issubclass(CommandInput, pydantic.BaseModel)
    assert "execution_context" not in Source(source_id="s", execution_context=ExecutionContext("x")).model_dump()
    assert set(CommandOutput.model_fields) == {"command_id", "execution_time", "execution_metadata"}
    assert CommandResult("command:x", CommandStatus.NEW).created is None


def test_a_zygote_that_imports_it_sees_no_store() -> None:
    program = "import sys, stoker.surreal_commands; sys.exit('apsw' in sys.modules or 'stoker.store' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
