"""A command as an application uses it: called here, or submitted from anywhere."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from stoker.client import default
from stoker.client.sync import JobHandle
from stoker.model import packing
from stoker.model.command import Command
from stoker.model.request import Request

if TYPE_CHECKING:
    from stoker.client.aio import AsyncJobHandle
    from stoker.client.errand import Dispatched

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Submittable(Command[P, R]):
    """A registered command. Call it to run it here; submit it to have it run by the daemon.

    ``submit`` and its kin take the handler's arguments, and beside them the options of a submission: ``user``,
    ``delay``, ``at``, ``priority``, ``tags``, ``unique``, ``key``, ``expires``, ``timeout``, ``retries``, ``memory``,
    ``id``. Where a handler has a parameter of such a name, the parameter wins; set the option by :meth:`options`.
    What they give is typed as the handler's value, also of an ``async def``.
    """

    def options(self, **options: Any) -> Submittable[P, R]:
        """The same command with options for what is submitted through it."""
        other = type(self)(self.handler, self.spec, self.signature, self.rules)
        other.preset = {**self.preset, **options}
        return other

    @overload
    def submit(self: Submittable[P, Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> JobHandle[T]: ...

    @overload
    def submit(self, *args: Any, **kwargs: Any) -> JobHandle[R]: ...

    def submit(self, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Store a job and return at once; durable. Raises InvalidInput before anything is sent."""
        return default.client().submit_request(self, self._request(args, kwargs))

    @overload
    async def asubmit(self: Submittable[P, Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> AsyncJobHandle[T]: ...

    @overload
    async def asubmit(self, *args: Any, **kwargs: Any) -> AsyncJobHandle[R]: ...

    async def asubmit(self, *args: Any, **kwargs: Any) -> AsyncJobHandle[Any]:
        """The same, awaitable."""
        return await default.async_client().submit_request(self, self._request(args, kwargs))

    @overload
    def submit_many(
        self: Submittable[P, Coroutine[Any, Any, T]], inputs: list[Any], **options: Any
    ) -> list[JobHandle[T]]: ...

    @overload
    def submit_many(self, inputs: list[Any], **options: Any) -> list[JobHandle[R]]: ...

    def submit_many(self, inputs: list[Any], **options: Any) -> list[JobHandle[Any]]:
        """Store many jobs in one transaction, all or none."""
        return default.client().submit_many(self, inputs, **options)

    @overload
    def call(self: Submittable[P, Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T: ...

    @overload
    def call(self, *args: Any, **kwargs: Any) -> R: ...

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Submit and wait for the handler's value. Raises JobFailed or JobCancelled."""
        return self.submit(*args, **kwargs).result()

    @overload
    async def acall(self: Submittable[P, Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T: ...

    @overload
    async def acall(self, *args: Any, **kwargs: Any) -> R: ...

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
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

    @overload
    def dispatch(
        self: Submittable[P, Coroutine[Any, Any, T]], *args: Any, detailed: Literal[True], **kwargs: Any
    ) -> Dispatched[T]: ...

    @overload
    def dispatch(
        self: Submittable[P, Coroutine[Any, Any, T]], *args: Any, detailed: Literal[False] = False, **kwargs: Any
    ) -> T: ...

    @overload
    def dispatch(self, *args: Any, detailed: Literal[True], **kwargs: Any) -> Dispatched[R]: ...

    @overload
    def dispatch(self, *args: Any, detailed: Literal[False] = False, **kwargs: Any) -> R: ...

    def dispatch(self, *args: Any, **kwargs: Any) -> Any:
        """Have a live worker do it now, and wait for the handler's value; Buffers among the arguments are moved. Not
        stored. ``fallback``, ``timeout`` and ``detailed`` go beside the input; see :func:`stoker.dispatch`."""
        from stoker.client import dispatch  # not at the top: what it loads would make every fork slower

        return dispatch.default_dispatcher().call(self, *args, **kwargs)

    @overload
    async def adispatch(
        self: Submittable[P, Coroutine[Any, Any, T]], *args: Any, detailed: Literal[True], **kwargs: Any
    ) -> Dispatched[T]: ...

    @overload
    async def adispatch(
        self: Submittable[P, Coroutine[Any, Any, T]], *args: Any, detailed: Literal[False] = False, **kwargs: Any
    ) -> T: ...

    @overload
    async def adispatch(self, *args: Any, detailed: Literal[True], **kwargs: Any) -> Dispatched[R]: ...

    @overload
    async def adispatch(self, *args: Any, detailed: Literal[False] = False, **kwargs: Any) -> R: ...

    async def adispatch(self, *args: Any, **kwargs: Any) -> Any:
        """The same, awaitable; an inline run goes to a thread."""
        from stoker.client import dispatch

        return await dispatch.default_dispatcher().acall(self, *args, **kwargs)

    def _request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        inputs, options = packing.split_options(self.signature.parameters, kwargs)
        return packing.pack(self, args, inputs, options)
