"""A product as an application writes it: commands are registered on it, and can be submitted from anywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from stoker.client.sync import Client, JobHandle
from stoker.model import packing
from stoker.model.command import Command, define
from stoker.model.product import Catalog
from stoker.model.request import Request

if TYPE_CHECKING:
    from stoker.client.aio import AsyncClient, AsyncJobHandle

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def default_client() -> Client:
    """The client of this project's daemon, one per process."""
    return Client()


@functools.cache
def default_async_client() -> AsyncClient:
    """The same for coroutines."""
    # not at the top: asyncio makes every fork of an application that does not use it slower (measured: 0.2 ms)
    from stoker.client.aio import AsyncClient

    return AsyncClient()


class Submittable(Command[P, R]):
    """A registered command. Call it to run it here; submit it to have it run by the daemon.

    ``submit`` and its kin take the handler's arguments, and beside them the options of a submission: ``user``,
    ``delay``, ``at``, ``priority``, ``tags``, ``unique``, ``key``, ``expires``, ``timeout``, ``retries``, ``memory``,
    ``id``. Where a handler has a parameter of such a name, the parameter wins; set the option by :meth:`options`.
    """

    def options(self, **options: Any) -> Submittable[P, R]:
        """The same command with options for what is submitted through it."""
        other = type(self)(self.handler, self.spec, self.signature, self.rules)
        other.preset = {**self.preset, **options}
        return other

    def submit(self, *args: Any, **kwargs: Any) -> JobHandle[R]:
        """Store a job and return at once; durable. Raises InvalidInput before anything is sent."""
        return default_client().submit_request(self, self._request(args, kwargs))

    async def asubmit(self, *args: Any, **kwargs: Any) -> AsyncJobHandle[R]:
        """The same, awaitable."""
        return await default_async_client().submit_request(self, self._request(args, kwargs))

    def submit_many(self, inputs: list[Any], **options: Any) -> list[JobHandle[R]]:
        """Store many jobs in one transaction, all or none."""
        return default_client().submit_many(self, inputs, **options)

    def call(self, *args: Any, **kwargs: Any) -> R:
        """Submit and wait for the handler's value. Raises JobFailed or JobCancelled."""
        return self.submit(*args, **kwargs).result()

    async def acall(self, *args: Any, **kwargs: Any) -> R:
        """The same, awaitable."""
        return await (await self.asubmit(*args, **kwargs)).result()

    def submit_in(self, connection: Any, /, *args: Any, **kwargs: Any) -> str:
        """Store a job inside the application's own PostgreSQL transaction; its id. See :mod:`.transaction`."""
        from stoker.client import transaction  # not at the top: what it loads would make every fork slower

        return transaction.submit_in(connection, self, *args, **kwargs)

    async def asubmit_in(self, connection: Any, /, *args: Any, **kwargs: Any) -> str:
        """The same, awaitable."""
        from stoker.client import transaction

        return await transaction.asubmit_in(connection, self, *args, **kwargs)

    def _request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        inputs, options = packing.split_options(self.signature.parameters, kwargs)
        return packing.pack(self, args, inputs, options)


class Product(Catalog):
    """A named family of commands: ``images = Product("images")``."""

    @overload
    def command(self, handler: Callable[P, R], /) -> Submittable[P, R]: ...

    @overload
    def command(
        self, handler: None = None, /, name: str | None = None, **options: Any
    ) -> Callable[[Callable[P, R]], Submittable[P, R]]: ...

    def command(self, handler: Any = None, /, name: str | None = None, **options: Any) -> Any:
        """Register a handler, as ``@product.command`` or with options:

        ``timeout`` (seconds or "5m"), ``memory`` ("1GB"), ``output`` (of captured output), ``retries`` and
        ``backoff=Backoff(…)``, ``retry_on`` and ``never_retry`` (exception classes), ``once`` (never start twice),
        ``priority`` (number or "critical"), ``concurrency`` (jobs of this command at a time), ``key`` ("user" or
        "input.field") with ``key_limit``, ``rate`` ("10/m"), ``expires`` (longest wait for a slot), ``unique``,
        ``isolation``, ``wait`` (whether a call waits), ``callers`` (roles that may call it), ``secret`` (input fields
        never shown), ``labels`` (what a node must have to run it).

        Raises :class:`~stoker.model.errors.AppError` for a signature or option that makes no sense.
        """

        def register(function: Callable[P, R]) -> Submittable[P, R]:
            command = Submittable(function, *define(self.name, function, name=name, **options))
            self.add(command)
            return command

        return register if handler is None else register(handler)


def command(
    first: str, second: str | None = None, /, *, app: str | None = None, **options: Any
) -> Callable[[Callable[P, R]], Submittable[P, R]]:
    """Register without a product at hand: ``@command("app", "name", timeout=300)``, or as the library of the 003 seed
    spells it, ``@command("name", app="app")``. ``retry={"max_attempts": 3}`` is read as ``retries=2``."""
    product, name = (first, second) if second is not None else (app or "app", first)
    retry = options.pop("retry", None)
    if isinstance(retry, dict) and "max_attempts" in retry:
        options.setdefault("retries", int(retry["max_attempts"]) - 1)

    def register(function: Callable[P, R]) -> Submittable[P, R]:
        return Product(product).command(name=name, **options)(function)

    return register
