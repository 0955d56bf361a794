"""A dispatched job where it runs: Buffers that came beside its assignment, and those that go back beside its result.

In a resident a run finds its descriptors at the :class:`Carrier`, which is that process's channel. Where no worker
lives, :func:`perform` runs the very same handler in the caller, through the same pipeline.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from stoker.model.command import Command
from stoker.model.errors import HandlerFailed, InvalidInput, JobCancelled, StokerError
from stoker.model.outcome import Cancelled, Done, Failed, Fault, Lost, Outcome, Retry
from stoker.run import executor
from stoker.run.executor import Run
from stoker.run.warm import Warmth
from stoker.wire.buffer import Buffer
from stoker.wire.channel import Channel
from stoker.wire.exchange import Exchange
from stoker.wire.frames import DIRECT, TO_RUNNER, Assign, Ended
from stoker.wire.rights import close_all

INLINE_RESULT_MAX = 1 << 30


class Carrier(Channel):
    """The channel of a resident. Descriptors that come with an assignment wait for its run; Buffers that a run leaves
    go with its end."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, TO_RUNNER, descriptors=True)
        self._came: dict[int, list[int]] = {}
        self._left: dict[int, list[Buffer]] = {}
        executor.carry(lambda assign: Parcel(self, assign))

    def take(self, run: int) -> list[int]:
        """The descriptors that came for a run; the taker's now."""
        return self._came.pop(run, [])

    def leave(self, run: int, buffers: list[Buffer]) -> None:
        """Send these, which were given, with the end of the run."""
        self._left[run] = buffers

    def send(self, frame: Any, fds: Sequence[int] = ()) -> None:
        if not isinstance(frame, Ended) or frame.run < DIRECT:
            super().send(frame, fds)
            return
        close_all(self.take(frame.run))  # of a run that was stopped before it began
        buffers = self._left.pop(frame.run, [])
        try:
            super().send(frame, [buffer.fileno() for buffer in buffers])
        finally:
            for buffer in buffers:
                buffer.gone()

    def send_all(self, some: Sequence[Any]) -> None:
        plain: list[Any] = []
        for frame in some:
            if isinstance(frame, Ended) and frame.run >= DIRECT:
                if plain:
                    super().send_all(plain)
                    plain = []
                self.send(frame)
            else:
                plain.append(frame)
        if plain:
            super().send_all(plain)

    def _arrived(self, frame: Any) -> None:
        if isinstance(frame, Assign) and frame.buffers:
            self._came[frame.run] = self.take_fds(len(frame.buffers))


class Parcel(Exchange):
    """The Buffers of one run of a resident, there within ``with parcel:``."""

    def __init__(self, carrier: Carrier, assign: Assign) -> None:
        super().__init__()
        self._carrier = carrier
        self._assign = assign
        self._given: list[tuple[Buffer, int]] = []

    def __enter__(self) -> Parcel:
        fds = self._carrier.take(self._assign.run)
        try:
            for size in self._assign.buffers:
                self.received.append(Buffer.adopt(fds.pop(0), size))
        finally:
            close_all(fds)
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """The Buffers that go back are given away within the run, so that one which cannot be (another run of this
        process returns the same) is this run's failure."""
        super().__exit__(*error)
        if error[0] is None:
            for buffer in self.sent:
                size = len(buffer)
                buffer.give()
                self._given.append((buffer, size))

    def sizes(self, outcome: Outcome | None) -> tuple[int, ...]:
        """Those of the Buffers that go back; they go with the end that is sent next."""
        self.received.clear()
        self.sent.clear()
        given, self._given = self._given, []
        if not given:
            return ()
        if not isinstance(outcome, Done):
            for buffer, _ in given:
                buffer.take_back()
            return ()
        self._carrier.leave(self._assign.run, [buffer for buffer, _ in given])
        return tuple(size for _, size in given)


class NobodyListens:
    """The line of an inline run: progress and logs have no job to be kept with."""

    def send(self, frame: Any) -> None:
        """Nowhere."""

    def ask(self, method: str, params: bytes) -> bytes:
        raise StokerError("a dispatched job that runs inline cannot ask the daemon through its context; use a client")

    async def aask(self, method: str, params: bytes) -> bytes:
        return self.ask(method, params)


_warmth = Warmth()
"""The warm states that inline runs of this process share."""


def perform(command: Command[Any, Any], job: str, input: bytes, buffers: Sequence[Buffer]) -> Any:
    """Run the handler here, as a worker would: from JSON, and its value through JSON. Raises
    :class:`HandlerFailed` with the exception's own text, the exception as its cause."""
    run = Run(Assign(0, job, command.name, input, 1, 0, None, (), None, None, 0), NobodyListens(), INLINE_RESULT_MAX)
    run.warmth = _warmth
    run.exchange = exchange = Exchange(buffers)
    errors: list[BaseException] = []
    run.errors = errors
    executor.execute(run, lambda: {command.name: command})
    exchange.received.clear()
    cause = errors[0] if errors else None
    match run.outcome:
        case Done(output):
            with exchange:
                return exchange.filled(command.signature.output.decode(output))
        case Retry(fault) | Failed(fault) | Lost(fault):
            raise failed(fault, cause)
        case Cancelled(reason):
            raise JobCancelled(reason)
    raise failed(Fault("Snooze", "a dispatched job is not stored, so it cannot be put off"), cause)


def failed(fault: Fault, cause: BaseException | None) -> StokerError:
    """What the caller of a dispatch gets for a fault."""
    if fault.type == "InvalidInput":
        return InvalidInput(fault.message)
    error = HandlerFailed(fault.message or fault.type)
    error.kind = fault.type
    error.__cause__ = cause
    return error
