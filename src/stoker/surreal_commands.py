"""What applications of the ``surreal-commands`` library import, on Stoker: change the import, keep the code.

    from stoker.surreal_commands import CommandInput, CommandOutput, command, submit_command_job

    class Source(CommandInput):
        source_id: str

    @command("open_notebook", "process_source", timeout=300)
    async def process_source(input_data: Source) -> CommandOutput: ...

    id = await submit_command_job("open_notebook", "process_source", {"source_id": "source:abc"})

Run it by ``stoker up --import-modules commands --max-tasks 5``. Both spellings of ``command`` are read, names of the
library and of the documents are accepted side by side, and a record has the shape :func:`record` gives it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import time
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Any, ParamSpec, TypeVar, cast

import msgspec
import pydantic

from stoker.client import product
from stoker.client.product import Submittable
from stoker.model import ids
from stoker.model.command import Backoff
from stoker.model.errors import DaemonUnavailable, WaitTimeout
from stoker.run.context import Context
from stoker.wire.records import JobRecord, job_record

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("stoker.surreal_commands")
CONTEXT = "execution_context"
"""The parameter, and the field of :class:`CommandInput`, by which a handler learns which job it is."""
_HIDDEN = "stoker_context"
_RETRY = "SURREAL_COMMANDS_RETRY_"

_registered: dict[str, Submittable[..., Any]] = {}


# ── what handlers are made of ────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class ExecutionContext:
    """Which job a handler works on. ``user_context`` is what the submitter gave as ``context``."""

    command_id: str = ""
    execution_started_at: datetime | None = None
    app_name: str = ""
    command_name: str = ""
    user_context: dict[str, Any] | None = None


class CommandInput(pydantic.BaseModel):
    """Base of inputs. ``execution_context`` is there while a handler runs, and is no part of the stored input."""

    execution_context: ExecutionContext | None = pydantic.Field(default=None, exclude=True)


class CommandOutput(pydantic.BaseModel):
    """Base of outputs. What a handler leaves empty of these three is filled in when it ran as a job."""

    command_id: str | None = None
    execution_time: float | None = None
    execution_metadata: dict[str, Any] | None = None


class RetryStrategy(StrEnum):
    """How long to wait before the next attempt."""

    FIXED = "fixed"
    EXPONENTIAL = "exponential"
    RANDOM = "random"
    EXPONENTIAL_JITTER = "exponential_jitter"


class RetryConfig(pydantic.BaseModel):
    """When a failed command is tried again; ``max_attempts`` counts the first one, times are seconds."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    enabled: bool = True
    max_attempts: int = pydantic.Field(default=3, ge=1)
    wait_strategy: RetryStrategy = RetryStrategy.EXPONENTIAL
    wait_time: float = pydantic.Field(default=1.0, ge=0)
    wait_min: float = pydantic.Field(default=1.0, ge=0)
    wait_max: float = pydantic.Field(default=60.0, ge=0)
    wait_multiplier: float = pydantic.Field(default=2.0, ge=1)
    retry_on: list[type[Exception]] | None = None
    stop_on: list[type[Exception]] | None = None

    def options(self) -> dict[str, Any]:
        """The same as options of a Stoker command."""
        if not self.enabled:
            return {}
        match self.wait_strategy:
            case RetryStrategy.FIXED:
                backoff = Backoff(base=self.wait_time, factor=1.0, jitter=0.0)
            case RetryStrategy.RANDOM:
                spread = 1.0 - self.wait_min / self.wait_max if self.wait_max else 0.0
                backoff = Backoff(base=self.wait_max, factor=1.0, jitter=max(0.0, spread))
            case _:
                jitter = 0.5 if self.wait_strategy is RetryStrategy.EXPONENTIAL_JITTER else 0.0
                first = max(self.wait_min, self.wait_multiplier)
                backoff = Backoff(base=first, factor=2.0, cap=max(first, self.wait_max), jitter=jitter)
        found: dict[str, Any] = {"retries": self.max_attempts - 1, "backoff": backoff}
        if self.retry_on:
            found["retry_on"] = tuple(self.retry_on)
        if self.stop_on:
            found["never_retry"] = tuple(self.stop_on)
        return found


def command(
    first: str, second: str | None = None, /, *, app: str | None = None,
    retry: RetryConfig | Mapping[str, Any] | None = None, **options: Any,
) -> Callable[[Callable[P, R]], Submittable[P, R]]:  # fmt: skip
    """Register a handler: ``@command("app", "name", timeout=300)``, or ``@command("name", app="app")``.

    Without an app it is the top package of the handler's module. ``retry`` is the library's; every option of a Stoker
    command is taken, too. Raises :class:`~stoker.model.errors.AppError` for what makes no sense.
    """
    name = first if second is None else second
    options = {**_retries(retry), **options}

    def register(function: Callable[P, R]) -> Submittable[P, R]:
        module = function.__module__.partition(".")[0]
        owner = first if second is not None else app or ("app" if module == "__main__" else module)
        made = product.command(owner, name, **options)(_informed(function, owner, name))
        _registered[made.name] = made
        return made

    return register


def _retries(given: RetryConfig | Mapping[str, Any] | None) -> dict[str, Any]:
    """A handler's own word on retries, over what the environment says for all."""
    common = {
        field: os.environ[f"{_RETRY}{field.upper()}"]
        for field in ("max_attempts", "wait_strategy", "wait_time", "wait_min", "wait_max", "wait_multiplier")
        if f"{_RETRY}{field.upper()}" in os.environ
    }
    wanted = os.environ.get(f"{_RETRY}ENABLED", "").lower() in ("1", "true", "yes", "on")
    if isinstance(given, RetryConfig):
        return given.options()
    if given is not None:
        return RetryConfig.model_validate({**(common if wanted else {}), **given}).options()
    return RetryConfig.model_validate(common).options() if wanted else {}


def _informed(function: Callable[P, R], app: str, name: str) -> Callable[P, R]:
    """The handler with what the library does around it: the context goes in, its traces go into the output.

    Called directly, as tests do, it is the function itself.
    """
    signature = inspect.signature(function)
    kept = [parameter for parameter in signature.parameters.values() if parameter.name != CONTEXT]
    hidden = inspect.Parameter(_HIDDEN, inspect.Parameter.KEYWORD_ONLY, default=None)

    def prepare(kwargs: dict[str, Any]) -> tuple[Context | None, ExecutionContext | None]:
        context: Context | None = kwargs.pop(_HIDDEN, None)
        if context is None:
            return None, None
        about = ExecutionContext(f"{ids.RECORD_PREFIX}{context.job}", datetime.now(UTC), app, name)
        for value in kwargs.values():
            if isinstance(value, CommandInput):
                given = value.execution_context
                about.user_context = given.user_context if given else None
                value.execution_context = about
        if context.user is not None:
            about.user_context = {**(about.user_context or {}), "user_id": context.user}
        if CONTEXT in signature.parameters:
            kwargs[CONTEXT] = about
        return context, about

    def finish(value: Any, about: ExecutionContext | None, began: float) -> Any:
        if about is not None and isinstance(value, CommandOutput):
            value.command_id = value.command_id or about.command_id
            if value.execution_time is None:
                value.execution_time = time.monotonic() - began
            if value.execution_metadata is None:
                started = about.execution_started_at
                value.execution_metadata = {
                    "app_name": app, "command_name": name, "started_at": started.isoformat() if started else None,
                }  # fmt: skip
        return value

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def informed(*args: Any, **kwargs: Any) -> Any:
            _, about = prepare(kwargs)
            began = time.monotonic()
            return finish(await function(*args, **kwargs), about, began)
    else:

        @functools.wraps(function)
        def informed(*args: Any, **kwargs: Any) -> Any:
            _, about = prepare(kwargs)
            began = time.monotonic()
            return finish(function(*args, **kwargs), about, began)

    shown = signature.replace(parameters=[*kept, hidden])
    informed.__signature__ = shown  # type: ignore[attr-defined]
    informed.__annotations__ = {**typing.get_type_hints(function, include_extras=True), _HIDDEN: Context}
    return cast("Callable[P, R]", informed)
