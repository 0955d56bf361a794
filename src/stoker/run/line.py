"""A run's line to the router: say something, ask something."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from stoker.model.errors import DaemonUnavailable, StokerError, from_code
from stoker.wire.frames import Answer


class Line(Protocol):
    """One per run; hides whether the run has a process, a thread or a task of its own."""

    def send(self, frame: Any) -> None:
        """Hand a frame to the router. Raises what was to be raised into the handler, if anything was."""

    def ask(self, method: str, params: bytes) -> bytes:
        """Ask and wait; the answer as JSON. Raises :class:`StokerError`."""

    async def aask(self, method: str, params: bytes) -> bytes:
        """The same from a coroutine, without holding up the loop."""


def unpack(answer: Answer | None) -> bytes:
    """The data of an answer, or its error raised; None is a line that broke."""
    if answer is None:
        raise DaemonUnavailable("the daemon went away before it answered")
    if answer.code is not None:
        raise from_code(answer.code, msgspec.json.decode(answer.data, type=str))
    return answer.data


class NoAnswers:
    """For places where nobody could answer: an inline run in the zygote."""

    def ask(self, method: str, params: bytes) -> bytes:
        raise StokerError("an inline command cannot ask the router; give it another isolation")

    async def aask(self, method: str, params: bytes) -> bytes:
        return self.ask(method, params)
