"""The clients that code under test gets within a workbench: the same methods, answered without a daemon."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from stoker.client.aio import AsyncClient, AsyncJobHandle
from stoker.client.sync import Client
from stoker.model.command import Command
from stoker.model.errors import StokerError
from stoker.model.job import Submitted
from stoker.model.product import Catalog
from stoker.model.request import Request
from stoker.settings import Settings
from stoker.wire import messages

T = TypeVar("T")


class Bench(Protocol):
    """What the clients need of a workbench."""

    settings: Settings

    def learn(self, commands: Catalog | Sequence[Command[..., Any]]) -> None:
        """Know these commands from now on."""

    def submit(self, request: Request) -> Submitted:
        """Store a job. Raises a RequestError as the daemon would."""

    def submit_all(self, requests: Sequence[Request]) -> list[Submitted]:
        """Store jobs, all or none. Raises the first RequestError."""

    def answer(self, method: str, params: Mapping[str, Any]) -> Any:
        """What the daemon would answer."""

    def run_until_ended(self, id: str, seconds: float | None) -> None:
        """Run jobs until this one has ended, or so many seconds of the clock have passed."""

    async def arun_until_ended(self, id: str, seconds: float | None) -> None:
        """The same, with coroutines run on the loop that runs."""


class BenchClient(Client):
    """The client that ``command.submit`` and its kin use within a workbench."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(settings=bench.settings)
        self._bench = bench

    def ask(self, method: str, kind: type[Any] = object, *, timeout: float | None = None, **params: Any) -> Any:
        if method == "wait":
            self._bench.run_until_ended(params["job"], params.get("seconds"))
        return _read(self._bench.answer(method, params), kind)

    def submit_requests(
        self, requests: Sequence[Request], commands: Mapping[str, Command[..., Any]]
    ) -> list[Submitted | Exception]:
        self._bench.learn(list(commands.values()))
        return list(self._bench.submit_all(requests))

    @contextlib.contextmanager
    def line(self, timeout: float | None = None) -> Iterator[Any]:
        yield BenchLine(self._bench)


class BenchLine:
    """A conversation that follows one job: it runs, and then all it said is there to be read."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._inbox: deque[messages.Event] = deque()

    def ask(self, _method: str, params: Mapping[str, Any], _kind: type[Any]) -> None:
        topic = f"job:{params['job']}"
        self._bench.run_until_ended(params["job"], None)
        for event in self._bench.answer("events", params):
            self._inbox.append(messages.Event("event", msgspec.Raw(msgspec.json.encode(event)), topic))
        self._inbox.append(messages.Event("end", msgspec.Raw(b"null"), topic))

    def next(self) -> messages.Event:
        return self._inbox.popleft()


class AsyncBenchClient(AsyncClient):
    """The same for coroutines."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(settings=bench.settings)
        self._bench = bench

    async def submit_request(self, command: Command[..., Any] | str, request: Request) -> AsyncJobHandle[Any]:
        if isinstance(command, Command):
            self._bench.learn((command,))
        return await super().submit_request(command, request)

    async def submit_many(
        self, command: Command[..., Any] | str, inputs: Sequence[Any], **options: Any
    ) -> list[AsyncJobHandle[Any]]:
        if isinstance(command, Command):
            self._bench.learn((command,))
        return await super().submit_many(command, inputs, **options)

    async def connected(self) -> Any:
        raise StokerError("a workbench streams to no coroutine; await bench.adrain(), then ask for the job's events")

    async def _again(self, call: Callable[[], tuple[str, Any]], kind: type[T]) -> T:
        method, params = call()
        if method == "wait":
            await self._bench.arun_until_ended(params["job"], params.get("seconds"))
        if isinstance(params, Request):
            return _read(self._bench.submit(params), kind)
        return _read(self._bench.answer(method, params), kind)


def _read(value: Any, kind: type[T]) -> T:
    """The answer as it would come over the wire."""
    return msgspec.json.decode(msgspec.json.encode(value), type=kind)
