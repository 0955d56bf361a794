"""A command: a registered handler with typed input and output, its limits, and how it is run.

:class:`CommandSpec` is the part that travels: plain data that the zygote announces to the router. :class:`Command` is
the part that stays with the code: the function and its types.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import msgspec

from stoker.model.errors import AppError
from stoker.model.job import Unique
from stoker.model.schema import Signature

P = ParamSpec("P")
R = TypeVar("R")

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
