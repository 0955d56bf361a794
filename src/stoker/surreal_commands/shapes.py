"""The library's words: what handlers take and return, what submitters get, and how retries are told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import pydantic

from stoker.model.command import Backoff

CONTEXT = "execution_context"
"""The parameter, and the field of :class:`CommandInput`, by which a handler learns which job it is."""


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


class CommandStatus(StrEnum):
    """Where a command is; both spellings of the last one are the same member."""

    NEW = "new"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CANCELED = "cancelled"

    @classmethod
    def _missing_(cls, value: object) -> CommandStatus | None:
        return cls.CANCELLED if value == "canceled" else None


@dataclass(frozen=True)
class CommandResult:
    """A command as it is now. ``result`` and ``error_message`` are the library's names of ``output`` and ``error``."""

    command_id: str
    status: CommandStatus
    result: Any = None
    error_message: str | None = None
    created: str | None = None
    updated: str | None = None
    completed_at: str | None = None

    @property
    def output(self) -> Any:
        return self.result

    @property
    def error(self) -> str | None:
        return self.error_message

    def is_complete(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in (CommandStatus.COMPLETED, CommandStatus.FAILED, CommandStatus.CANCELLED)

    def is_success(self) -> bool:
        """Whether the handler returned."""
        return self.status is CommandStatus.COMPLETED
