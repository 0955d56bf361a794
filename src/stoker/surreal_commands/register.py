"""Registering handlers, in both spellings, with what the library does around them."""

from __future__ import annotations

import functools
import inspect
import os
import time
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar, cast

from stoker.client.product import Product
from stoker.client.submittable import Submittable
from stoker.model import ids
from stoker.model.command import Command
from stoker.run.context import Context
from stoker.surreal_commands.shapes import CONTEXT, CommandInput, CommandOutput, ExecutionContext, RetryConfig

P = ParamSpec("P")
R = TypeVar("R")
RETRY_VARIABLE = "SURREAL_COMMANDS_RETRY_"

products: dict[str, Product] = {}
"""What this process has registered, by app: the library's registry."""


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
        there = products.get(owner)
        if there is None:
            there = products[owner] = Product(owner)
        return there.command(name=name, **options)(_informed(function, owner, name))

    return register


def _retries(given: RetryConfig | Mapping[str, Any] | None) -> dict[str, Any]:
    """A command's own word on retries, over what the environment says for all."""
    if isinstance(given, RetryConfig):
        return given.options()
    common: dict[str, Any] = {}
    if os.environ.get(f"{RETRY_VARIABLE}ENABLED", "").lower() in ("1", "true", "yes", "on"):
        for field in RetryConfig.model_fields:
            if f"{RETRY_VARIABLE}{field.upper()}" in os.environ:
                common[field] = os.environ[f"{RETRY_VARIABLE}{field.upper()}"]
    wanted = {**common, **(given or {})}
    return RetryConfig.model_validate(wanted).options() if wanted else {}


def _informed(function: Callable[P, R], app: str, name: str) -> Callable[P, R]:
    """The handler with what the library does around it: the context goes in, the job's traces go into the output.

    Called directly, as tests do, it does no more than the function.
    """
    signature = inspect.signature(function)
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature.parameters.values()):
        return function  # is refused with a reason where it is registered
    own = _own_context(function)
    context = own or "stoker_context"

    def prepare(kwargs: dict[str, Any]) -> ExecutionContext | None:
        job: Context | None = kwargs.get(context) if own else kwargs.pop(context, None)
        if job is None:
            return None
        about = ExecutionContext(f"{ids.RECORD_PREFIX}{job.job}", datetime.now(UTC), app, name)
        inputs = [value for value in kwargs.values() if isinstance(value, CommandInput)]
        for value in inputs:
            about.user_context = value.execution_context.user_context if value.execution_context else None
            value.execution_context = about
        if job.user is not None:
            about.user_context = {**(about.user_context or {}), "user_id": job.user}
        if CONTEXT in signature.parameters:
            kwargs[CONTEXT] = about
        return about

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def informed(*args: Any, **kwargs: Any) -> Any:
            about, began = prepare(kwargs), time.monotonic()
            return _signed(await function(*args, **kwargs), about, began)
    else:

        @functools.wraps(function)
        def informed(*args: Any, **kwargs: Any) -> Any:
            about, began = prepare(kwargs), time.monotonic()
            return _signed(function(*args, **kwargs), about, began)

    shown = [parameter for parameter in signature.parameters.values() if parameter.name != CONTEXT]
    if own is None:
        shown.append(inspect.Parameter(context, inspect.Parameter.KEYWORD_ONLY, default=None))
        informed.__annotations__ = {**function.__annotations__, context: Context}
    informed.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return cast("Callable[P, R]", informed)


def takes_context(made: Command[Any, Any]) -> bool:
    """Whether what a submitter gives as ``context`` reaches the handler."""
    hints = typing.get_type_hints(made.handler)
    return any(isinstance(kind, type) and issubclass(kind, CommandInput) for kind in hints.values())


def _own_context(function: Callable[..., Any]) -> str | None:
    """The parameter by which a handler asks for Stoker's own context, if it does."""
    try:
        hints = typing.get_type_hints(function)
    except NameError:
        return None  # is refused with a reason where it is registered
    return next((name for name, kind in hints.items() if kind is Context), None)


def _signed(value: Any, about: ExecutionContext | None, began: float) -> Any:
    """The output with the fields filled in that the handler left empty."""
    if about is None or not isinstance(value, CommandOutput):
        return value
    if value.command_id is None:
        value.command_id = about.command_id
    if value.execution_time is None:
        value.execution_time = time.monotonic() - began
    if value.execution_metadata is None:
        started = about.execution_started_at
        value.execution_metadata = {
            "app_name": about.app_name,
            "command_name": about.command_name,
            "started_at": started.isoformat() if started else None,
        }
    return value
