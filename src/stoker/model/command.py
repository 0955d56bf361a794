"""A command: a registered handler with typed input and output, its limits, and how it is run.

:class:`CommandSpec` is the part that travels: plain data that the zygote announces to the router. :class:`Command` is
the part that stays with the code: the function and its types.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import msgspec

from stoker.model import quantities
from stoker.model.errors import AppError
from stoker.model.job import OnDuplicate, Unique
from stoker.model.job import priority as read_priority
from stoker.model.schema import Signature

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

FALLBACKS = ("inline", "wait", "error")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")


class Isolation(StrEnum):
    """Where a job runs."""

    FORK = "fork"
    """A fresh process, forked from the warm zygote for this one job."""
    ASYNC = "async"
    """A task on the event loop of a long-lived resident."""
    THREAD = "thread"
    """A thread of a long-lived resident."""
    PROCESS = "process"
    """A long-lived worker of the product's pool, one job at a time in its main thread."""
    SCRIPT = "script"
    """A program, started from an argv list below a process of its own."""
    INLINE = "inline"
    """In the zygote itself, without a fork: for answers that take no time. Nothing else is forked meanwhile."""


class Backoff(msgspec.Struct, frozen=True):
    """When a failed attempt is tried again: ``base * factor**(n-1)`` seconds, at most ``cap``, less up to ``jitter``.

    With the defaults: about 1, 2, 4, 8 … seconds, each between half and all of that.
    """

    retries: int = 0
    base: float = 1.0
    factor: float = 2.0
    cap: float = 3600.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if not (self.base >= 0 and self.factor > 0 and self.cap >= 0 and 0 <= self.jitter <= 1):
            raise ValueError("a back-off has base and cap of 0 or more, factor more than 0, and jitter from 0 to 1")

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds to wait after the ``attempt``-th try; ``chance`` in [0, 1) picks the jitter."""
        try:
            full = min(self.cap, self.base * self.factor ** min(attempt - 1, 64))
        except OverflowError:
            full = self.cap
        return full * (1.0 - self.jitter * chance)


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the router knows of a command. Sizes are bytes, times are seconds, None is "no limit"."""

    name: str
    isolation: Isolation | None = None
    timeout: float | None = None
    memory: int | None = None
    output: int | None = None
    backoff: Backoff = Backoff()
    once: bool = False
    priority: int = 0
    concurrency: int | None = None
    key: str | None = None
    key_limit: int = 1
    interval: float | None = None
    expires: float | None = None
    unique: Unique | None = None
    wait: bool = True
    callers: tuple[str, ...] = ("script", "web")
    secret: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    role: str = ""
    """Only the node that holds this role runs it."""
    hook: str = ""
    """What it is submitted for by itself: see :mod:`.hook`."""
    fallback: str = "inline"
    """What a dispatch does when no worker takes it: ``inline``, ``wait`` or ``error``."""
    crons: tuple[dict[str, Any], ...] = ()
    """Entries of schedules, as they stand in a file."""
    is_async: bool = False
    script: str = ""
    """For a program: what its result is."""
    doc: str = ""
    schema: dict[str, Any] = {}
    fingerprint: str = ""

    @property
    def product(self) -> str:
        return self.name.partition(".")[0]

    def closed_to(self, role: str) -> str:
        """That clients of this role may not call it, and who may."""
        return f"{self.name} may be called by {' and '.join(self.callers) or 'jobs alone'}, not by {role}"

    def isolated(self, default: Isolation) -> Isolation:
        """How this command runs where the daemon's default is ``default``.

        A default of ``async`` means "in residents": coroutines on the loop, plain functions in threads.
        """
        if self.isolation is not None:
            return self.isolation
        if default is Isolation.ASYNC and not self.is_async:
            return Isolation.THREAD
        return default


class Home(Protocol):
    """What a command needs to know of its product."""

    name: str

    def start_hook(self) -> Callable[[], Any] | None:
        """What makes the warm state of a worker, if there is anything to make."""


class Command(Generic[P, R]):
    """A registered handler. Calling it calls the function, so tests need no daemon."""

    def __init__(self, handler: Callable[P, R], spec: CommandSpec, signature: Signature, rules: RetryRules) -> None:
        self.handler = handler
        self.spec = spec
        self.signature = signature
        self.rules = rules
        self.preset: dict[str, Any] = {}
        self.home: Home | None = None
        """The product that it is registered on."""
        self.__doc__ = handler.__doc__
        self.__name__ = getattr(handler, "__name__", spec.name)
        self.__wrapped__ = handler

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def origin(self) -> str:
        """Where the handler is written."""
        return f"{getattr(self.handler, '__module__', '?')}.{getattr(self.handler, '__qualname__', '?')}"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.handler(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<command {self.spec.name}>"


class RetryRules(msgspec.Struct, frozen=True):
    """Which exceptions are worth another attempt."""

    on: tuple[type[BaseException], ...] = (Exception,)
    never: tuple[type[BaseException], ...] = ()

    def worth(self, error: BaseException) -> bool:
        return isinstance(error, self.on) and not isinstance(error, self.never)


def check_name(what: str, name: str) -> str:
    if not NAME.match(name):
        raise AppError(f"{name!r} cannot be the name of a {what}: letters, digits, '_' and '-' only")
    return name


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
            isolation=None if isolation is None else Isolation(isolation),
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
        _check_together(spec)
    except (ValueError, TypeError) as error:
        raise AppError(f"command {full}: {error}") from error
    return spec, signature, RetryRules(_classes(retry_on), _classes(never_retry))


def _described(spec: CommandSpec, handler: Callable[..., Any], signature: Signature) -> CommandSpec:
    """The same with what its code says of it."""
    return msgspec.structs.replace(
        spec,
        is_async=inspect.iscoroutinefunction(handler),
        doc=inspect.cleandoc(handler.__doc__ or ""),
        schema=signature.schema(),
        fingerprint=signature.fingerprint(),
    )


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
    return given if isinstance(given, tuple) else (given,)


def _unique(given: bool | Unique | str | None) -> Unique | None:
    if isinstance(given, Unique):
        return given
    if isinstance(given, str):
        return Unique(on_duplicate=OnDuplicate(given))
    return Unique() if given else None
