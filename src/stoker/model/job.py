"""A job: one durable request of a command, and what is known of it.

                 ┌───────────── retry, snooze, lost ────────────┐
                 ▼                                              │
    submit ──► new ──────────── claim ──────────────────► running ──► completed
                 │                                              ├───► failed
                 └── cancel, expired ──► cancelled / failed     └───► cancelled

*Ready* is a question, not a state: a job is ready when it is ``new`` and waits for nothing but a slot. What a new
job waits for is one word, :class:`Waits`, and it is the answer to "why does my job not run?".
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Literal

import msgspec

from stoker.model import quantities
from stoker.model.outcome import Fault


class State(StrEnum):
    NEW = "new"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in ENDED


def read_state(word: str) -> State:
    """A state by its name, also as Americans spell it. Raises ValueError."""
    try:
        return State("cancelled" if word == "canceled" else word)
    except ValueError:
        raise ValueError(f"{word!r} is none of {', '.join(State)}") from None


ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})


class Waits(StrEnum):
    """What a new job waits for: a free slot, its time, or the jobs before it under the same concurrency key."""

    SLOT = "slot"
    TIME = "time"
    KEY = "key"


class Priority(IntEnum):
    """Higher runs first; any integer from -100 to 100 may be used, these have names."""

    OPTIONAL = -10
    NORMAL = 0
    IMPORTANT = 10
    CRITICAL = 20


def priority(value: int | str) -> int:
    """A priority from a number or a name. Raises ValueError."""
    if isinstance(value, str):
        try:
            return Priority[value.upper()]
        except KeyError:
            names = ", ".join(p.name.lower() for p in Priority)
            raise ValueError(f"{value!r} is not a priority; use a number or one of {names}") from None
    if not -100 <= value <= 100:
        raise ValueError(f"a priority lies between -100 and 100, not {value}")
    return int(value)


class OnDuplicate(StrEnum):
    """What happens to a submission whose unique key is taken."""

    EXISTING = "existing"
    REJECT = "reject"
    REPLACE = "replace"


class Unique(msgspec.Struct, frozen=True):
    """At most one job per key: until it ends, or for ``window`` seconds from its submission if given.

    ``window`` is a duration (``3600`` or ``"1h"``). ``key`` None means: the command together with its whole input.
    ``on_duplicate`` says what the second submitter gets: the job that is there (``existing``), an error (``reject``),
    or the waiting job with the new input (``replace``; a job that already runs is left alone and returned).
    """

    key: str | None = None
    window: float | None = None
    on_duplicate: OnDuplicate = OnDuplicate.EXISTING

    if TYPE_CHECKING:
        # whoever writes it may use words; what comes over a line has the types of the fields

        def __init__(
            self,
            key: str | None = None,
            window: float | str | None = None,
            on_duplicate: OnDuplicate | Literal["existing", "reject", "replace"] = OnDuplicate.EXISTING,
        ) -> None: ...

    def __post_init__(self) -> None:
        """Raises ValueError for what makes no sense."""
        if self.on_duplicate not in tuple(OnDuplicate):
            raise ValueError(f"on_duplicate: {self.on_duplicate!r} is none of {', '.join(OnDuplicate)}")
        msgspec.structs.force_setattr(self, "on_duplicate", OnDuplicate(self.on_duplicate))
        if self.window is not None:
            try:
                msgspec.structs.force_setattr(self, "window", quantities.seconds(self.window))
            except (TypeError, ValueError) as error:
                raise ValueError(f"window: {error}") from None


class Overrides(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one submission asks for in place of the command's own settings; None keeps the command's. And what goes with
    the job to where it runs: the ``trace`` it belongs to, as a W3C ``traceparent``, and when it was ``due``, if not at
    once (seconds since the epoch)."""

    timeout: float | None = None
    retries: int | None = None
    memory: int | None = None
    trace: str | None = None
    due: float | None = None


class Submission(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request to store one job. ``input`` is JSON; ``run_at`` is seconds since the epoch, UTC."""

    id: str
    command: str
    input: bytes
    priority: int = 0
    run_at: float | None = None
    expires: float | None = None
    user: str | None = None
    tags: tuple[str, ...] = ()
    unique: Unique | None = None
    key: str | None = None
    key_limit: int = 1
    overrides: Overrides = Overrides()
    fresh: bool = False
    """Whether the id was made for this very submission, so that it cannot be in use."""


class Submitted(msgspec.Struct, frozen=True):
    """The answer to a submission: which job now stands for it, and whether it is a new one."""

    id: str
    created: bool


class Claimed(msgspec.Struct, frozen=True):
    """An attempt that is now ours, until its lease ends. Every write about it carries ``fence``."""

    seq: int
    id: str
    command: str
    input: bytes
    attempt: int
    fence: int
    user: str | None
    tags: tuple[str, ...]
    overrides: Overrides
    created: float
    key: str | None = None
    round: int = 0


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a job is. ``percent`` 0 to 100, or None when unknown."""

    percent: float | None = None
    message: str | None = None
    step: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is read back. Times are seconds since the epoch, UTC."""

    seq: int
    id: str
    command: str
    state: State
    waits: Waits
    priority: int
    created: float
    updated: float
    run_at: float
    expires: float | None
    started: float | None
    finished: float | None
    attempt: int
    fence: int
    owner: str | None
    user: str | None
    tags: tuple[str, ...]
    key: str | None
    unique: str | None
    progress: Progress | None
    fault: Fault | None
    cancel: str | None
    overrides: Overrides
    input: bytes
    output: bytes | None

    @property
    def product(self) -> str:
        return self.command.partition(".")[0]

    @property
    def name(self) -> str:
        return self.command.partition(".")[2]
