"""A run without a daemon: commands made on the spot, and a line that keeps what is said on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from stoker.model.command import Command
from stoker.model.definition import define
from stoker.model.outcome import Outcome
from stoker.run.executor import Run, execute, execute_async
from stoker.run.line import unpack
from stoker.wire.frames import Answer, Assign

RESULT_MAX = 1000


class KeptLine:
    """A line to a router that answers what the test wants."""

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.sent: list[Any] = []
        self.asked: list[tuple[str, Any]] = []
        self._answers = answers or {}

    def send(self, frame: Any) -> None:
        self.sent.append(frame)

    def ask(self, method: str, params: bytes) -> bytes:
        self.asked.append((method, msgspec.json.decode(params)))
        return unpack(Answer(1, 1, msgspec.json.encode(self._answers.get(method)), None))

    async def aask(self, method: str, params: bytes) -> bytes:
        return self.ask(method, params)


def assign(input: bytes = b"{}", **more: Any) -> Assign:
    plain: dict[str, Any] = {
        "run": 1, "job": "parent", "command": "app.work", "input": input, "attempt": 1, "fence": 1, "user": "u7",
        "tags": ("t",), "memory": None, "timeout": None, "max_output": 1 << 20,
    }  # fmt: skip
    return Assign(**{**plain, **more})


def started(
    handler: Callable[..., Any], input: bytes = b"{}", **options: Any
) -> tuple[Run, dict[str, Command[Any, Any]]]:
    """A run of ``handler`` that has not been executed."""
    command = Command(handler, *define("app", handler, name="work", **options))
    return Run(assign(input), KeptLine(), RESULT_MAX), {"app.work": command}


def outcome(handler: Callable[..., Any], input: bytes = b"{}", **options: Any) -> Outcome:
    """How a run of ``handler`` ends, in a process or a thread."""
    run, commands = started(handler, input, **options)
    execute(run, lambda: commands)
    assert run.outcome is not None
    return run.outcome


def outcome_async(handler: Callable[..., Any], input: bytes = b"{}", **options: Any) -> Outcome:
    """How it ends as a task."""
    run, commands = started(handler, input, **options)
    asyncio.run(execute_async(run, lambda: commands))
    assert run.outcome is not None
    return run.outcome
