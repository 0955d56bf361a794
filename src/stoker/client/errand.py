"""One dispatch on its way, without any I/O: what is sent, what is made of the answer, and what comes without one.

    policy      no worker lives, or the daemon is gone      the worker died over it
    inline      the handler runs here                       the handler runs here
    wait        sent again as soon as a worker lives        sent again, :data:`LOST_MAX` times at most
    error       NoWorker                                    WorkerLost

A handler's own exception is an answer, and no reason for any of this.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from stoker.client import aside
from stoker.model import ids, quantities, tracing
from stoker.model.command import FALLBACKS, Command
from stoker.model.errors import (
    DaemonError,
    DispatchTimeout,
    HandlerFailed,
    InvalidBuffer,
    InvalidInput,
    NotBegun,
    NoWorker,
    StokerError,
    WorkerLost,
    from_code,
)
from stoker.model.product import Catalog
from stoker.model.schema import JsonCodec
from stoker.wire import messages
from stoker.wire.buffer import Buffer
from stoker.wire.exchange import Exchange
from stoker.wire.rights import close_all, duplicates

R = TypeVar("R")
LOST_MAX = 3
"""Workers that may die over one dispatch before it is given up: perhaps it is what kills them."""
NOT_BEGUN_MAX = 100
ASIDE_FROM = 4 << 20
"""Bytes of Buffers that are let go by a thread beside."""
PAUSE_MIN, PAUSE_MAX = 0.01, 0.5
SHORT = 40

Perform = Callable[[Command[Any, Any], str, bytes, Sequence[Buffer]], Any]


class Dispatched(msgspec.Struct, Generic[R], frozen=True):
    """What a dispatch came to, and by whom: ``by`` is "worker" or "inline", ``worker`` the worker's pid, ``reason`` why
    it ran inline."""

    value: R
    by: Literal["worker", "inline"]
    worker: int | None = None
    reason: str | None = None


class Errand:
    """What is to be done, from its packing to its answer. The Buffers it moves are void for their owner from the
    moment it is made; their descriptors are kept until the answer, for another worker or for the inline run."""

    def __init__(
        self,
        product: str,
        action: str,
        command: Command[Any, Any] | None,
        pack: Callable[[], bytes],
        *,
        transfer: Iterable[Buffer] | None,
        fallback: str | None,
        timeout: float | str | None,
    ) -> None:
        self.product = product
        self.action = action
        self.command = command
        policy = fallback or (command.spec.fallback if command is not None else "inline")
        if policy not in FALLBACKS:
            raise InvalidInput(f"fallback: {policy!r} is none of {', '.join(FALLBACKS)}")
        self.policy = policy
        self.deadline = None if timeout is None else time.monotonic() + _seconds(timeout)
        self.job = ids.new_job_id()
        with Exchange() as exchange:
            self.input = pack()
        self._buffers = exchange.sent
        _check_transfer(self._buffers, transfer)
        self._sizes = tuple(len(buffer) for buffer in self._buffers)
        self._given: list[Buffer] = []
        self._lost = self._not_begun = 0
        self._pause = PAUSE_MIN
        try:
            for buffer in self._buffers:
                buffer.give()
                self._given.append(buffer)
        except BaseException:
            self.take_back()
            raise

    @property
    def name(self) -> str:
        return f"{self.product}.{self.action}"

    @property
    def fds(self) -> list[int]:
        """Descriptors to send beside :meth:`line`; they stay ours."""
        return [buffer.fileno() for buffer in self._buffers]

    @property
    def left(self) -> float | None:
        """Seconds that it may still take. Raises :class:`DispatchTimeout` when there are none."""
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DispatchTimeout(f"{self.name} was not done in time")
        return left

    def line(self) -> bytes:
        """The message; under an id of its own each time, so that a late answer is nobody's."""
        if self._lost or self._not_begun:
            self.job = ids.new_job_id()
        checked = None if self.command is None else self.command.spec.fingerprint
        trace = tracing.submitted(self.name, self.job)
        return messages.encode(
            messages.Dispatch(
                self.job, self.product, self.action, msgspec.Raw(self.input), self._sizes, self.left, checked, True,
                trace,
            )
        )  # fmt: skip

    def sent(self) -> None:
        """The pages are the worker's now; not to be counted as ours any more."""
        self._aside(self._relieve)

    def read(self, answer: messages.JobResult, fds: Sequence[int]) -> Dispatched[Any]:
        """The value of an answer, or its error raised."""
        if answer.result is msgspec.UNSET:
            close_all(fds)
            error = from_code(answer.code or HandlerFailed.code, str(answer.error))
            if isinstance(error, HandlerFailed):
                error.kind = answer.kind or ""
            raise error
        received = _adopt(fds, answer.buffers)
        output = JsonCodec() if self.command is None else self.command.signature.output
        with Exchange(received) as exchange:
            value = exchange.filled(output.decode(bytes(answer.result)))
        return Dispatched(value, "worker", answer.worker)

    def after(self, problem: StokerError) -> bool:
        """Nobody answered, because of this: whether it is sent again (after :meth:`pause`); False for inline. Raises
        when neither is to be."""
        if isinstance(problem, NotBegun) and self._not_begun < NOT_BEGUN_MAX:
            self._not_begun += 1
            return True
        if self.policy == "inline" and self.command is not None:
            return False
        if self.policy == "wait":
            self._lost += isinstance(problem, WorkerLost)
            if self._lost < LOST_MAX:
                return True
        if isinstance(problem, WorkerLost):
            raise problem
        hint = ""
        if self.policy == "inline":
            hint = "; nor can it run inline: this program has not imported its code, pass the command itself"
        raise NoWorker(f"{self.name}: {problem.message}{hint}")

    def pause(self) -> float:
        """Seconds to wait before it is sent again: longer each time, never past the deadline."""
        pause, self._pause = self._pause, min(self._pause * 2, PAUSE_MAX)
        left = self.left
        return pause if left is None else min(pause, left)

    def inline(self, perform: Perform, problem: StokerError) -> Callable[[], Dispatched[Any]]:
        """The run of the handler here, once, with the same input: to be called, in whatever thread. Its Buffers are its
        own from now on, also when this errand is over before it begins."""
        command = self.command
        assert command is not None
        received = _adopt(duplicates(self.fds), self._sizes)

        def run() -> Dispatched[Any]:
            return Dispatched(perform(command, self.job, self.input, received), "inline", None, problem.message)

        return run

    def take_back(self) -> None:
        """Nobody took it: the Buffers are their owner's again."""
        for buffer in self._given:
            buffer.take_back()

    def done(self) -> None:
        """It is over: let go of what was kept."""
        self._aside(self._let_go)

    def _aside(self, work: Callable[[], None]) -> None:
        """The kernel takes its time to unmap and free many pages; nobody has to wait for that."""
        if sum(self._sizes) < ASIDE_FROM:
            work()
        else:
            aside.do(work)

    def _relieve(self) -> None:
        for buffer in self._buffers:
            buffer.relieve()

    def _let_go(self) -> None:
        for buffer in self._given:
            buffer.gone()


TRY_ELSEWHERE = (NoWorker, WorkerLost, DaemonError)
"""What says that no worker did it."""


def product_name(product: Catalog | str) -> str:
    """The name of a product that was given as itself or by name. Raises :class:`InvalidInput`."""
    if isinstance(product, str):
        return product
    if isinstance(product, Catalog):
        return product.name
    raise InvalidInput(f"product: a Product or its name is needed, not {_short(product)}")


def check_action(action: str) -> str:
    """The name of an action. Raises :class:`InvalidInput`."""
    if not isinstance(action, str):
        raise InvalidInput(f"action: the name of a command is needed, not {_short(action)}")
    return action


def _seconds(timeout: float | str) -> float:
    if not isinstance(timeout, int | float | str):
        raise InvalidInput(f"timeout: a duration is needed, not {_short(timeout)}")
    try:
        found = quantities.seconds(timeout)
    except ValueError as error:
        raise InvalidInput(f"timeout: {error}") from None
    if not found > 0:
        raise InvalidInput("timeout: must be more than 0; leave it out for no limit")
    return found


def _short(value: Any) -> str:
    """What was given instead, as far as it tells something."""
    text = repr(value)
    return text if len(text) <= SHORT else f"a {type(value).__name__}"


def pack_call(command: Command[Any, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[], bytes]:
    """Arguments as Python writes them; checked against the command's types."""
    return lambda: command.signature.pack(args, kwargs)


def pack_payload(command: Command[Any, Any] | None, payload: Any) -> Callable[[], bytes]:
    """One mapping, or one record, that is the whole input."""
    if command is None:
        return lambda: JsonCodec().encode({} if payload is None else payload)
    signature = command.signature
    if payload is None:
        return lambda: signature.pack((), {})
    if isinstance(payload, Mapping) and signature.record is None:
        return lambda: signature.pack((), payload)
    return lambda: signature.pack((payload,), {})


def _check_transfer(found: Sequence[Buffer], transfer: Iterable[Buffer] | None) -> None:
    """What is moved is said, where it is asked for: nobody loses a Buffer that he did not mean to give away."""
    if transfer is None:
        return
    if isinstance(transfer, Buffer) or not isinstance(transfer, Iterable):
        raise InvalidBuffer(f"transfer takes a list of Buffers, as in transfer=[buffer], not {_short(transfer)}")
    named = list(transfer)
    for one in named:
        if not isinstance(one, Buffer):
            raise InvalidBuffer(f"transfer takes Buffers, not {type(one).__name__}; Buffer.of(data) makes one")
    if any(all(one is not other for other in named) for one in found):
        raise InvalidBuffer("there is a Buffer in the payload that transfer=[…] does not name: it would be moved")
    if any(all(one is not other for other in found) for one in named):
        raise InvalidBuffer("transfer=[…] names a Buffer that is not in the payload")


def _adopt(fds: Sequence[int], sizes: Sequence[int]) -> list[Buffer]:
    left = list(fds)
    try:
        if len(left) != len(sizes):
            raise InvalidBuffer(f"{len(sizes)} buffers were announced, and {len(left)} descriptors came")
        return [Buffer.adopt(left.pop(0), size) for size in sizes]
    finally:
        close_all(left)
