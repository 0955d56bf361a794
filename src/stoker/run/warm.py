"""What a product's start hook makes, and how handlers get it.

    @images.resident
    def model():
        net = load("net.bin")     # once per worker, before its first job
        yield net                 # ctx.resident of every handler
        net.close()               # when the worker ends

A worker that stays keeps it from its first job to its end; where a job has a process of its own, it is made and ended
with the job.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from stoker.model.command import Command, Home
from stoker.run.context import Context

if TYPE_CHECKING:
    import asyncio

NO_YIELD = "the start hook ended without a yield"
NOTHING: contextlib.nullcontext[None] = contextlib.nullcontext()


class Warm:
    """The warm state of one product."""

    def __init__(self, home: Home, hook: Callable[[], Any]) -> None:
        self.home = home
        self.value: Any = None
        self._hook = hook
        self._rest: Any = None
        self._runner: Any = None

    def begin(self) -> None:
        """Run the hook as far as its ``yield``. Whatever it raises is raised."""
        made = self._hook()
        if inspect.isgenerator(made):
            self._rest = made
            self.value = _next(made)
        elif inspect.isasyncgen(made) or inspect.iscoroutine(made):
            import asyncio  # loaded already where an application has coroutines; see preload

            self._runner = asyncio.Runner()
            self._rest = made
            self.value = self._runner.run(_first(made))
        else:
            self.value = made

    async def abegin(self) -> None:
        """The same on the loop that runs."""
        made = self._hook()
        if inspect.isasyncgen(made) or inspect.iscoroutine(made):
            self._rest = made
            self.value = await _first(made)
        elif inspect.isgenerator(made):
            self._rest = made
            self.value = _next(made)
        else:
            self.value = made

    def end(self) -> None:
        """Run the rest of the hook."""
        rest, self._rest = self._rest, None
        if inspect.isgenerator(rest):
            next(rest, None)
        elif inspect.isasyncgen(rest) and self._runner is not None:
            self._runner.run(_last(rest))
        if self._runner is not None:
            self._runner.close()

    async def aend(self) -> None:
        """The same on the loop that runs."""
        if not inspect.isasyncgen(self._rest):
            return self.end()
        rest, self._rest = self._rest, None
        return await _last(rest)


def _next(made: Iterator[Any]) -> Any:
    try:
        return next(made)
    except StopIteration:
        raise RuntimeError(NO_YIELD) from None


async def _first(made: Any) -> Any:
    try:
        return await (anext(made) if inspect.isasyncgen(made) else made)
    except StopAsyncIteration:
        raise RuntimeError(NO_YIELD) from None


async def _last(rest: Any) -> None:
    await anext(rest, None)


class Warmth:
    """The warm states of one process, by product; each made at its first use."""

    def __init__(self) -> None:
        self._made: dict[str, Warm] = {}
        self._before: list[Warm] = []
        self._lock = threading.Lock()
        self._turns: dict[str, asyncio.Lock] = {}
        """Of tasks that need a product's first, one makes it."""

    def value(self, home: Home, hook: Callable[[], Any]) -> Any:
        """The warm state of a product. Its code read anew makes it anew; what was before ends with the process."""
        with self._lock:
            found = self._made.get(home.name)
            if found is None or found.home is not home:
                new = self._new(home, hook)
                new.begin()
                self._made[home.name] = found = new
            return found.value

    async def avalue(self, home: Home, hook: Callable[[], Any]) -> Any:
        """The same on the loop that runs, for jobs of one loop."""
        found = self._made.get(home.name)
        if found is not None and found.home is home:
            return found.value
        import asyncio  # this is a loop

        async with self._turns.setdefault(home.name, asyncio.Lock()):
            found = self._made.get(home.name)
            if found is None or found.home is not home:
                new = self._new(home, hook)
                await new.abegin()
                self._made[home.name] = found = new
            return found.value

    def _new(self, home: Home, hook: Callable[[], Any]) -> Warm:
        if home.name in self._made:
            self._before.append(self._made.pop(home.name))
        return Warm(home, hook)

    def close(self) -> None:
        """The process ends: run what the hooks have left to do, the last made first."""
        while self._before or self._made:
            self._last_made().end()

    async def aclose(self) -> None:
        """The same on the loop that runs."""
        while self._before or self._made:
            await self._last_made().aend()

    def _last_made(self) -> Warm:
        return self._made.popitem()[1] if self._made else self._before.pop()

    def lend(self, command: Command[Any, Any], context: Context) -> contextlib.AbstractContextManager[None]:
        """Give a handler its product's warm state, while it runs."""
        home, hook = hook_of(command)
        if home is not None and hook is not None:
            context.resident = self.value(home, hook)
        return NOTHING

    async def alend(self, command: Command[Any, Any], context: Context) -> contextlib.AbstractAsyncContextManager[None]:
        """The same on the loop that runs."""
        home, hook = hook_of(command)
        if home is not None and hook is not None:
            context.resident = await self.avalue(home, hook)
        return NOTHING


class Cold(Warmth):
    """Nothing stays: made for each job, ended with it."""

    def lend(self, command: Command[Any, Any], context: Context) -> contextlib.AbstractContextManager[None]:
        home, hook = hook_of(command)
        return NOTHING if home is None or hook is None else self._lend(home, hook, context)

    async def alend(self, command: Command[Any, Any], context: Context) -> contextlib.AbstractAsyncContextManager[None]:
        home, hook = hook_of(command)
        return NOTHING if home is None or hook is None else self._alend(home, hook, context)

    @contextlib.contextmanager
    def _lend(self, home: Home, hook: Callable[[], Any], context: Context) -> Iterator[None]:
        warm = Warm(home, hook)
        warm.begin()
        context.resident = warm.value
        try:
            yield
        finally:
            warm.end()

    @contextlib.asynccontextmanager
    async def _alend(self, home: Home, hook: Callable[[], Any], context: Context) -> AsyncIterator[None]:
        warm = Warm(home, hook)
        await warm.abegin()
        context.resident = warm.value
        try:
            yield
        finally:
            await warm.aend()


COLD = Cold()


def hook_of(command: Command[Any, Any]) -> tuple[Home | None, Callable[[], Any] | None]:
    """A command's product and its start hook."""
    home = command.home
    return home, None if home is None else home.start_hook()
