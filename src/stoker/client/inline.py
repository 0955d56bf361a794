"""The inline run of a dispatch, for a client that knows nothing of the processes that run jobs: ``stoker`` itself,
which knows both, puts the way to run a handler here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stoker.model.command import Command

_ways: list[Callable[..., Any]] = []


def use(way: Callable[[Command[Any, Any], str, bytes, Sequence[Any]], Any]) -> None:
    """Run handlers like this: the command, the job's id, its input as JSON, and the Buffers that come along."""
    _ways[:] = [way]


def perform(command: Command[Any, Any], job: str, input: bytes, buffers: Sequence[Any]) -> Any:
    """Run the handler here; its value, or its failure raised as HandlerFailed."""
    return _ways[0](command, job, input, buffers)
