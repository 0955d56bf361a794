"""A handler and what was said beside it, read into the values that a command is made of."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypedDict, TypeVar, cast

import msgspec

from stoker.model import quantities
from stoker.model.command import FALLBACKS, Backoff, CommandSpec, Isolation, RetryRules, check_name
from stoker.model.errors import AppError
from stoker.model.hint import did_you_mean
from stoker.model.job import OnDuplicate, Unique
from stoker.model.job import priority as read_priority
from stoker.model.schema import Signature

T = TypeVar("T")


class Options(TypedDict, total=False):
    """What may be said beside a handler, for those who read types; :func:`define` has the meaning of none."""

    isolation: Literal["fork", "process", "thread", "async", "inline"] | Isolation | None
    timeout: float | str | None
    memory: int | str | None
    output: int | str | None
    retries: int | None
    backoff: Backoff | None
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    never_retry: type[BaseException] | tuple[type[BaseException], ...]
    once: bool
    priority: int | str
    concurrency: int | None
    key: str | None
    key_limit: int
    rate: str | None
    expires: float | str | None
    unique: bool | Unique | Literal["existing", "reject", "replace"] | None
    wait: bool
    callers: tuple[str, ...]
    secret: tuple[str, ...]
    labels: str | tuple[str, ...]
    role: str
    fallback: Literal["inline", "wait", "error"]


def define(
    product: str,
    handler: Callable[..., Any],
    *,
    name: str | None = None,
    isolation: str | Isolation | None = None,
    timeout: float | str | None = None,
    memory: int | str | None = None,
    output: int | str | None = None,
    retries: int | None = None,
    backoff: Backoff | None = None,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    never_retry: type[BaseException] | tuple[type[BaseException], ...] = (),
    once: bool = False,
    priority: int | str = 0,
    concurrency: int | None = None,
    key: str | None = None,
    key_limit: int = 1,
    rate: str | None = None,
    expires: float | str | None = None,
    unique: bool | Unique | str | None = None,
    wait: bool = True,
    callers: tuple[str, ...] = ("script", "web"),
    secret: tuple[str, ...] = (),
    labels: str | tuple[str, ...] = (),
    role: str = "",
    fallback: str = "inline",
) -> tuple[CommandSpec, Signature, RetryRules]:
    """Read a handler's signature and the decorator's options into the values a :class:`Command` is made of.

    Raises :class:`AppError`, naming the command, for anything that makes no sense.
    """
    own = check_name("command", name or str(getattr(handler, "__name__", "")))
    full = f"{product}.{own}"
    try:
        signature = Signature.of(handler)
        spec = _described(CommandSpec(
            name=full,
            isolation=None if isolation is None else _isolation(isolation),
            timeout=_positive("timeout", _given("timeout", quantities.seconds, timeout)),
            memory=_given("memory", quantities.size, memory),
            output=_given("output", quantities.size, output),
            backoff=_backoff(retries, backoff or Backoff(), once),
            priority=read_priority(priority),
            concurrency=None if concurrency is None else _count("concurrency", concurrency, 1),
            key=_key(key),
            key_limit=_count("key_limit", key_limit, 1),
            interval=_given("rate", quantities.rate, rate),
            expires=_given("expires", quantities.seconds, expires),
            unique=_unique(unique),
            callers=tuple(callers), secret=tuple(secret),
            labels=(labels,) if isinstance(labels, str) else tuple(labels),
            role=check_name("role", role) if role else "",
            once=once, wait=wait, fallback=fallback,
        ), handler, signature)  # fmt: skip
        _check_types(spec)
        _check_together(spec)
        rules = RetryRules(_classes(retry_on), _classes(never_retry))
    except (ValueError, TypeError) as error:
        raise AppError(f"command {full}: {error}") from error
    return spec, signature, rules


def check_options(product: str, given: Iterable[str]) -> None:
    """Raises :class:`AppError` for an option that there is not."""
    for option in given:
        if option not in Options.__annotations__:
            hint = did_you_mean(option, Options.__annotations__)
            raise AppError(f"product {product}: a command has no option {option!r}{hint}")


def _described(spec: CommandSpec, handler: Callable[..., Any], signature: Signature) -> CommandSpec:
    """The same with what its code says of it."""
    return msgspec.structs.replace(
        spec,
        is_async=inspect.iscoroutinefunction(handler),
        doc=inspect.cleandoc(handler.__doc__ or ""),
        schema=signature.schema(),
        fingerprint=signature.fingerprint(),
    )


def _check_types(spec: CommandSpec) -> None:
    """What other processes could not read. Raises ValueError."""
    try:
        msgspec.convert(msgspec.to_builtins(spec), CommandSpec)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        raise ValueError(f"{place.rstrip('`')}: {problem}") from None


def _check_together(spec: CommandSpec) -> None:
    """What only shows when the whole command is known. Raises ValueError."""
    if spec.isolation is Isolation.ASYNC and not spec.is_async:
        raise ValueError("isolation 'async' needs an `async def`; a plain function takes 'thread'")
    if spec.memory is not None and spec.isolation in (Isolation.ASYNC, Isolation.THREAD, Isolation.INLINE):
        raise ValueError(f"memory bounds a process, and isolation {spec.isolation.value!r} shares one; use 'fork'")
    if spec.once and spec.backoff.retries:
        raise ValueError("once and retries exclude each other")
    if spec.fallback not in FALLBACKS:
        raise ValueError(f"fallback: {spec.fallback!r} is none of {', '.join(FALLBACKS)}")
    unknown = set(spec.callers) - {"script", "web"}
    if unknown:
        raise ValueError(f"callers: {', '.join(sorted(unknown))} is none of script, web")
    text = msgspec.json.encode(spec.schema)
    missing = [name for name in spec.secret if f'"{name}":'.encode() not in text]
    if missing:
        raise ValueError(f"secret: the input has no field {', '.join(missing)}")
    if b'"writeOnly":true' in text:
        raise ValueError(
            "a SecretStr is stored as stars, and the handler would get those; use str and secret=('field',)"
        )


def _given(what: str, read: Callable[[Any], T], value: Any) -> T | None:
    """An option's value read, with the option's name in front of what is wrong with it."""
    if value is None:
        return None
    try:
        return read(value)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{what}: {error}") from None


def _positive(what: str, value: float | None) -> float | None:
    if value is not None and value <= 0:
        raise ValueError(f"{what} must be more than 0; leave it out for no limit")
    return value


def _count(what: str, value: int, least: int) -> int:
    if value < least:
        raise ValueError(f"{what} must be {least} or more, not {value}")
    return value


def _isolation(given: str) -> Isolation:
    try:
        return Isolation(given)
    except ValueError:
        raise ValueError(f"isolation: {given!r} is none of {', '.join(Isolation)}") from None


def _backoff(retries: int | None, backoff: Backoff, once: bool) -> Backoff:
    if not isinstance(backoff, Backoff):
        raise ValueError(f"backoff takes a Backoff, as in backoff=Backoff(base=2, cap=60), not {backoff!r}")
    count = _count("retries", backoff.retries if retries is None else retries, 0)
    if once and count:
        raise ValueError("a command that may start only once has no retries")
    return msgspec.structs.replace(backoff, retries=count)


def _key(key: str | None) -> str | None:
    if key not in (None, "user") and not re.fullmatch(r"input(\.[^.]+)+", key):
        raise ValueError(f"key is 'user' or 'input.field', not {key!r}")
    return key


def _classes(given: type[BaseException] | tuple[type[BaseException], ...]) -> tuple[type[BaseException], ...]:
    found = given if isinstance(given, tuple) else (given,)
    for one in found:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise ValueError(f"retry_on and never_retry are exception classes, not {one!r}")
    return found


def _unique(given: bool | Unique | str | None) -> Unique | None:
    if isinstance(given, Unique):
        return given
    if isinstance(given, str):
        return Unique(on_duplicate=cast(OnDuplicate, given))
    return Unique() if given else None
