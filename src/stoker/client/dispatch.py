"""Direct dispatch: hand a job to a live worker and wait for its answer; moved Buffers go along without a copy.

Nothing is stored: a dispatch that is lost with its worker or its caller is lost, unless its policy says otherwise
(:mod:`.errand`). What must not be lost is submitted instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from stoker.client import core, inline
from stoker.client.dispatch_line import AsyncDispatchLine
from stoker.client.errand import TRY_ELSEWHERE, Dispatched, Errand, check_action, pack_call, pack_payload, product_name
from stoker.client.sync import Client
from stoker.model.command import Command
from stoker.model.errors import (
    DaemonError,
    DispatchTimeout,
    NotAllowed,
    NoWorker,
    StokerError,
    UnknownCommand,
    WorkerLost,
)
from stoker.model.product import Catalog, no_action, registered
from stoker.settings import Settings
from stoker.wire import board
from stoker.wire.buffer import Buffer

PATIENCE = 1.0
"""Seconds beyond a dispatch's own time that the daemon has to say that it is over."""


class Dispatcher:
    """Dispatches to the daemon of this project, or of the one that ``address`` or ``settings`` name. Safe to share
    between threads and event loops, and across a fork."""

    def __init__(
        self, address: str | None = None, *, token: str | None = None, timeout: float = core.SILENCE,
        settings: Settings | None = None,
    ) -> None:  # fmt: skip
        self._client = Client(address, token=token, timeout=timeout, settings=settings)
        self._token = self._client.settings.token if token is None else token
        self._timeout = timeout
        self._local = not self._client.address.startswith("tcp://")
        self._board = board.Reader(board.beside(self._client.address))
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[int, AsyncDispatchLine]] = WeakKeyDictionary()
        self.counts: Counter[str] = Counter()
        """Dispatches of this process by the path they took: ``worker`` and ``inline``."""

    def has_worker(self, product: Catalog | str) -> bool:
        """Whether a worker of this product lives: a look into shared memory, no request. False within a second after
        the last one died, was disabled, or the daemon ended. Through TCP there is nothing to look into: False."""
        name = product_name(product)
        return self._local and self._board.workers(name) > 0

    def dispatch(
        self, product: Catalog | str, action: str, payload: Any = None, transfer: Iterable[Buffer] = (), *,
        fallback: str | None = None, timeout: float | str | None = None, detailed: bool = False,
    ) -> Any:  # fmt: skip
        """See :func:`stoker.dispatch`."""
        made = self.run(errand(product, action, payload, transfer, fallback, timeout))
        return made if detailed else made.value

    async def dispatch_to_worker(
        self, product: Catalog | str, action: str, payload: Any = None, transfer: Iterable[Buffer] = (), *,
        fallback: str | None = None, timeout: float | str | None = None, detailed: bool = False,
    ) -> Any:  # fmt: skip
        """See :func:`stoker.dispatch_to_worker`."""
        made = await self.arun(errand(product, action, payload, transfer, fallback, timeout))
        return made if detailed else made.value

    def call(self, command: Command[Any, Any], /, *args: Any, **kwargs: Any) -> Any:
        """Dispatch a command with its arguments as Python writes them."""
        made, detailed = _errand(command, args, kwargs)
        found = self.run(made)
        return found if detailed else found.value

    async def acall(self, command: Command[Any, Any], /, *args: Any, **kwargs: Any) -> Any:
        """The same, awaitable."""
        made, detailed = _errand(command, args, kwargs)
        found = await self.arun(made)
        return found if detailed else found.value

    def run(self, errand: Errand) -> Dispatched[Any]:
        """Carry it out, waiting."""
        with self._carrying(errand):
            while True:
                problem: StokerError
                try:
                    self._check(errand)
                    return self._counted(self._sent(errand))
                except TRY_ELSEWHERE as error:
                    problem = error
                if not errand.after(problem):
                    return self._counted(errand.inline(_outside_a_loop(inline.perform), problem)())
                time.sleep(errand.pause())

    async def arun(self, errand: Errand) -> Dispatched[Any]:
        """Carry it out while the loop goes on; what must run here runs in a thread."""
        with self._carrying(errand):
            while True:
                problem: StokerError
                try:
                    self._check(errand)
                    return self._counted(await self._asent(errand))
                except TRY_ELSEWHERE as error:
                    problem = error
                if not errand.after(problem):
                    return self._counted(await asyncio.to_thread(errand.inline(inline.perform, problem)))
                await asyncio.sleep(errand.pause())

    def close(self) -> None:
        """Close what this process has open; connections of event loops end with :meth:`aclose`."""
        self._client.close()
        self._board.close()

    async def aclose(self) -> None:
        """Close this event loop's connection."""
        _, line = self._lines.pop(asyncio.get_running_loop(), (0, None))
        if line is not None:
            line.close()

    def _check(self, errand: Errand) -> None:
        if not self._local and errand.fds:
            raise NotAllowed("Buffers are moved within one machine; this client speaks to its daemon through TCP")
        if self._local and not self.has_worker(errand.product):
            raise NoWorker(f"no worker of {errand.product} lives")

    def _sent(self, errand: Errand) -> Dispatched[Any]:
        left = errand.left
        limit = None if left is None else min(left + PATIENCE, self._timeout)
        until = None if left is None else time.monotonic() + left + PATIENCE
        with _on_its_way(errand) as sent, self._client.line(limit) as line:
            line.tell(errand.line(), errand.fds, until)
            sent()
            answer, fds = line.result(errand.job, until)
        return errand.read(answer, fds)

    async def _asent(self, errand: Errand) -> Dispatched[Any]:
        left = errand.left
        try:
            with _on_its_way(errand) as sent:
                async with asyncio.timeout(None if left is None else left + PATIENCE):
                    line = await self._line()
                    answer, fds = await line.ask(errand.line(), errand.fds, errand.job, sent)
        except TimeoutError:
            raise DispatchTimeout(f"{errand.name} was not done in time") from None
        return errand.read(answer, fds)

    async def _line(self) -> AsyncDispatchLine:
        loop = asyncio.get_running_loop()
        pid, line = self._lines.get(loop, (0, None))
        if line is None or pid != os.getpid() or line.broken is not None:
            line = AsyncDispatchLine(self._client.address, self._token, self._timeout)
            self._lines[loop] = (os.getpid(), line)
        await line.open()
        return line

    def _counted(self, found: Dispatched[Any]) -> Dispatched[Any]:
        self.counts[found.by] += 1
        return found

    @contextlib.contextmanager
    def _carrying(self, errand: Errand) -> Iterator[None]:
        try:
            yield
        except NoWorker:
            errand.take_back()
            raise
        except BaseException:
            errand.done()
            raise
        errand.done()


@contextlib.contextmanager
def _on_its_way(errand: Errand) -> Iterator[Callable[[], None]]:
    """What is called here says that it was sent. A daemon that is lost from then on may have had a worker at it, which
    is another thing than that nobody took it."""
    out = False

    def sent() -> None:
        nonlocal out
        out = True
        errand.sent()

    try:
        yield sent
    except DaemonError as error:
        if not out:
            raise
        raise WorkerLost(f"the daemon was lost before it answered: {error.message}") from None


@functools.cache
def default_dispatcher() -> Dispatcher:
    """That of this project's daemon, one per process."""
    return Dispatcher()


def has_worker(product: Catalog | str) -> bool:
    """Whether a worker of this product lives; plain and cheap enough to be asked for every request, from threads,
    coroutines and jobs alike. See :meth:`Dispatcher.has_worker`."""
    return default_dispatcher().has_worker(product)


def dispatch(
    product: Catalog | str, action: str, payload: Any = None, transfer: Iterable[Buffer] = (), *,
    fallback: str | None = None, timeout: float | str | None = None, detailed: bool = False,
) -> Any:  # fmt: skip
    """Have a worker of the product do this, and wait for the handler's value. Not stored: durable jobs are submitted.

    ``transfer`` names the Buffers in the payload: they are moved, and void here from then on. ``fallback`` is what
    happens when no worker does it: ``inline`` (the same function runs here, once), ``wait`` or ``error``; None for what
    the command says. ``timeout`` bounds all of it but the inline run. ``detailed`` gives a :class:`Dispatched`, which
    tells the path that was taken.

    Raises HandlerFailed with the handler's own message, InvalidInput, UnknownCommand, NoWorker, WorkerLost or
    DispatchTimeout.
    """
    options: dict[str, Any] = {"fallback": fallback, "timeout": timeout, "detailed": detailed}
    return default_dispatcher().dispatch(product, action, payload, transfer, **options)


async def dispatch_to_worker(
    product: Catalog | str, action: str, payload: Any = None, transfer: Iterable[Buffer] = (), *,
    fallback: str | None = None, timeout: float | str | None = None, detailed: bool = False,
) -> Any:  # fmt: skip
    """:func:`dispatch`, awaitable; an inline run goes to a thread, so that the loop lives on."""
    options: dict[str, Any] = {"fallback": fallback, "timeout": timeout, "detailed": detailed}
    return await default_dispatcher().dispatch_to_worker(product, action, payload, transfer, **options)


OPTIONS = ("fallback", "timeout", "detailed")


def own(product: Catalog, action: str) -> Command[Any, Any]:
    """A product's command. Raises :class:`UnknownCommand`."""
    found = product.commands.get(f"{product.name}.{check_action(action)}")
    if found is None:
        raise UnknownCommand(no_action(product.name, action))
    return found


def _errand(command: Command[Any, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Errand, bool]:
    """The errand of a call, and whether its details are wanted; a parameter wins over an option of its name."""
    options = {name: kwargs[name] for name in OPTIONS if name in kwargs and name not in command.signature.parameters}
    inputs = {name: value for name, value in kwargs.items() if name not in options}
    product, _, action = command.name.partition(".")
    detailed = bool(options.pop("detailed", False))
    options = {"fallback": None, "timeout": None, **options}
    return Errand(product, action, command, pack_call(command, args, inputs), transfer=None, **options), detailed


def errand(
    product: Catalog | str, action: str, payload: Any, transfer: Iterable[Buffer] | None, fallback: str | None,
    timeout: float | str | None,
) -> Errand:  # fmt: skip
    """A dispatch by name, ready to be carried out."""
    name = product_name(product)
    command = find(product, action)
    return Errand(
        name, action, command, pack_payload(command, payload), transfer=transfer, fallback=fallback, timeout=timeout
    )  # fmt: skip


def find(product: Catalog | str, action: str) -> Command[Any, Any] | None:
    """The command, when its code is at hand. Raises :class:`UnknownCommand` when its product's is, and has no such
    action."""
    name = product_name(product)
    command = registered.get(f"{name}.{check_action(action)}")
    if command is None and (not isinstance(product, str) or any(key.startswith(f"{name}.") for key in registered)):
        raise UnknownCommand(no_action(name, action))
    return command


def _outside_a_loop(perform: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine handler brings a loop of its own, which must not be within another: then it gets a thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return perform

    def elsewhere(*args: Any) -> Any:
        done: list[Any] = []

        def work() -> None:
            try:
                done.append((perform(*args), None))
            except BaseException as error:
                done.append((None, error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        value, error = done[0]
        if error is not None:
            raise error
        return value

    return elsewhere
