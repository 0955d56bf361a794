"""The client for coroutines: one connection for everything, answers matched by id."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from stoker.client import core
from stoker.client.pushing_aio import AsyncPushing
from stoker.model import ids, packing
from stoker.model.command import Command
from stoker.model.errors import AlreadyRunning, DaemonError, DaemonSilent, DaemonUnavailable, StokerError, WaitTimeout
from stoker.model.job import Progress, Submitted
from stoker.model.request import Request
from stoker.settings import Settings
from stoker.wire import endpoint, messages
from stoker.wire.records import EventRecord, JobRecord

T = TypeVar("T")
R = TypeVar("R")
RECV = 1 << 16


class AsyncLine:
    """One connection, shared by every task: calls wait for their own answer, events go to whom they concern."""

    def __init__(self, address: str, silence: float, token: str) -> None:
        self._address = address
        self._silence = silence
        self._talk = core.Conversation(token=token or None)
        self._calls: dict[int | str, asyncio.Future[messages.Return | messages.Error]] = {}
        self._topics: dict[str, list[asyncio.Queue[messages.Event | StokerError]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self.broken: StokerError | None = None

    async def open(self) -> AsyncLine:
        try:
            if self._address.startswith("tcp://"):
                host, _, port = self._address.removeprefix("tcp://").rpartition(":")
                opening = asyncio.open_connection(host.strip("[]"), int(port))
            else:
                opening = asyncio.open_unix_connection(self._address.removeprefix("unix://"))
            # not wait_for: before Python 3.12 that swallows a cancellation which comes just as it is done
            async with asyncio.timeout(self._silence):
                reader, writer = await opening
        except (OSError, ValueError) as error:
            raise endpoint.unreachable(self._address, error) from None
        writer.write(self._talk.hello())
        self._writer = writer
        self._task = asyncio.create_task(self._listen(reader))
        return self

    async def ask(self, method: str, params: Any, kind: type[T]) -> T:
        if self.broken is not None or self._writer is None:
            raise self.broken or DaemonUnavailable()
        number, line = self._talk.call(method, params)
        future: asyncio.Future[messages.Return | messages.Error] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        try:
            self._writer.write(line)
            await self._writer.drain()
            return core.read(await future, kind)
        except OSError as error:
            if self._task is not None:
                await asyncio.wait([self._task], timeout=1.0)  # it may have heard why the daemon hung up
            raise self.broken or endpoint.unreachable(self._address, error) from None
        finally:
            self._calls.pop(number, None)

    def listen(self, topic: str) -> asyncio.Queue[messages.Event | StokerError]:
        inbox: asyncio.Queue[messages.Event | StokerError] = asyncio.Queue()
        self._topics.setdefault(topic, []).append(inbox)
        return inbox

    def forget(self, topic: str, inbox: asyncio.Queue[messages.Event | StokerError]) -> bool:
        """Stop listening; whether nobody else listens either."""
        inboxes = self._topics.get(topic, [])
        inboxes.remove(inbox)
        if not inboxes:
            del self._topics[topic]
        return not inboxes

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                waiting = bool(self._calls or self._topics)
                try:
                    async with asyncio.timeout(self._silence if waiting else None):
                        data = await reader.read(RECV)
                except TimeoutError:
                    raise DaemonSilent(f"the daemon at {self._address} said nothing for {self._silence:g} s") from None
                if not data:
                    raise DaemonUnavailable(f"the daemon at {self._address} closed the connection")
                for message in self._talk.feed(data):
                    self._sort(message)
        except OSError as error:
            self._break(endpoint.unreachable(self._address, error))
        except StokerError as error:
            self._break(error)

    def _sort(self, message: messages.Message) -> None:
        if isinstance(message, messages.Return | messages.Error) and message.id is not None:
            future = self._calls.get(message.id)
            if future is not None and not future.done():
                future.set_result(message)
        elif isinstance(message, messages.Event) and message.topic is not None:
            for inbox in self._topics.get(message.topic, ()):
                inbox.put_nowait(message)

    def _break(self, error: StokerError) -> None:
        self.broken = error
        if self._writer is not None:
            self._writer.close()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(error)
        for inboxes in self._topics.values():
            for inbox in inboxes:
                inbox.put_nowait(error)


class AsyncClient(AsyncPushing):
    """:class:`~stoker.client.sync.Client` for coroutines, with the same methods and the same promises."""

    def __init__(
        self, address: str | None = None, *, token: str | None = None, timeout: float = core.SILENCE,
        settings: Settings | None = None,
    ) -> None:  # fmt: skip
        self.settings, self._stores = core.settings_for(address, settings)
        self.address = address or str(self.settings.socket_path)
        self._token = token if token is not None else self.settings.token
        self._timeout = timeout
        self._line: AsyncLine | None = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._opening: asyncio.Lock | None = None

    async def try_connect(self) -> bool:
        """Whether a daemon answers; never raises."""
        try:
            async with asyncio.timeout(1.0):
                await self.ask("ping")
        except (DaemonError, TimeoutError):
            return False
        return True

    async def ask(self, method: str, kind: type[Any] = object, **params: Any) -> Any:
        """Call a method of the daemon; ``kind`` is the type to read the answer as."""
        return await self._again(lambda: (method, params), kind)

    async def submit(self, command: Command[..., Any] | str, /, *args: Any, **kwargs: Any) -> AsyncJobHandle[Any]:
        """Store a job; see :meth:`stoker.client.sync.Client.submit`."""
        parameters = command.signature.parameters if isinstance(command, Command) else ()
        inputs, options = packing.split_options(parameters, kwargs)
        return await self.submit_request(command, packing.pack(command, args, inputs, options))

    async def submit_request(self, command: Command[..., Any] | str, request: Request) -> AsyncJobHandle[Any]:
        typed = command if isinstance(command, Command) else None
        (answer,) = await self._submitted([request], {typed.name: typed} if typed else {})
        return AsyncJobHandle(self, answer.id, typed, answer.created)

    async def submit_many(
        self, command: Command[..., Any] | str, inputs: Sequence[Any], **options: Any
    ) -> list[AsyncJobHandle[Any]]:
        """Store many jobs of one command in one transaction, all or none."""
        typed = command if isinstance(command, Command) else None
        requests = [
            packing.pack(command, (), one, options)
            if typed and isinstance(one, Mapping) and typed.signature.record is None
            else packing.pack(command, (one,), {}, options)
            for one in inputs
        ]
        answers = await self._submitted(requests, {typed.name: typed} if typed else {})
        return [AsyncJobHandle(self, answer.id, typed, answer.created) for answer in answers]

    async def call(self, command: Command[..., Any] | str, /, *args: Any, **kwargs: Any) -> Any:
        """Submit and wait: the handler's value."""
        handle = await self.submit(command, *args, **kwargs)
        if isinstance(command, Command) and not command.spec.wait:
            return handle.id
        return await handle.result()

    def job(self, id: str) -> AsyncJobHandle[Any]:
        return AsyncJobHandle(self, ids.job_id(id), None, False)

    async def jobs(self, **filter: Any) -> list[JobRecord]:
        found: list[JobRecord] = await self.ask("jobs", list[JobRecord], **filter)
        return found

    async def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.ask("stats", dict[str, Any])
        return found

    async def close(self) -> None:
        if self._line is not None:
            line, self._line = self._line, None
            await line.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connected(self) -> AsyncLine:
        """The shared connection, made when there is none, or none that works in this process and loop."""
        here = (os.getpid(), asyncio.get_running_loop())
        if self._home != here:
            self._home, self._line, self._opening = here, None, asyncio.Lock()
        assert self._opening is not None
        async with self._opening:
            if self._line is None or self._line.broken is not None:
                self._line = await AsyncLine(self.address, self._timeout, self._token).open()
            return self._line

    async def _again(self, call: Callable[[], tuple[str, Any]], kind: type[T]) -> T:
        """Ask, and once more over a new connection if the first is lost; ``call`` says each time what."""
        line = await self.connected()
        try:
            return await line.ask(*call(), kind)
        except DaemonUnavailable:
            return await (await self.connected()).ask(*call(), kind)

    async def _submitted(
        self, requests: Sequence[Request], commands: Mapping[str, Command[..., Any]]
    ) -> list[Submitted]:
        """By the daemon, or straight into the store when none runs. Raises the first refusal."""
        try:
            return await self._sent(requests)
        except DaemonUnavailable:
            if not self._stores:
                raise
        # not at the top: the zygote imports this module, and must never import the store
        from stoker.client import offline

        try:
            answers = await asyncio.to_thread(offline.submit, self.settings, requests, commands)
        except AlreadyRunning:
            return await self._sent(core.repeated(requests))
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [answer for answer in answers if isinstance(answer, Submitted)]

    async def _sent(self, requests: Sequence[Request]) -> list[Submitted]:
        def submit() -> tuple[str, Any]:
            nonlocal requests
            asked, requests = requests, core.repeated(requests)
            return ("submit", asked[0]) if len(asked) == 1 else ("submit_many", {"jobs": asked})

        if len(requests) == 1:
            return [await self._again(submit, Submitted)]
        return await self._again(submit, list[Submitted])


class AsyncJobHandle(Generic[R]):
    """One submitted job; see :class:`stoker.client.sync.JobHandle`."""

    def __init__(self, client: AsyncClient, id: str, command: Command[..., R] | None, created: bool) -> None:
        self._client = client
        self._command = command
        self.id = id
        self.created = created

    async def record(self) -> JobRecord:
        found: JobRecord = await self._client.ask("job", JobRecord, job=self.id)
        return found

    async def status(self) -> str:
        return (await self.record()).status

    async def progress(self) -> Progress | None:
        return (await self.record()).progress

    async def wait(self, timeout: float | None = None) -> JobRecord:
        found: JobRecord = await self._client.ask("wait", JobRecord, job=self.id, seconds=timeout)
        if not found.ended:
            raise WaitTimeout(f"{found.name} {self.id} is still {found.status}; it goes on")
        return found

    async def result(self, timeout: float | None = None) -> R:
        raw = core.result(await self.wait(timeout))
        if self._command is not None:
            value: R = self._command.signature.output.decode(bytes(raw))
            return value
        plain: R = msgspec.json.decode(raw)
        return plain

    async def events(self, after: int = 0) -> AsyncIterator[EventRecord]:
        line = await self._client.connected()
        topic = f"job:{self.id}"
        inbox = line.listen(topic)
        try:
            await line.ask("subscribe", {"job": self.id, "after": after}, object)
            while True:
                message = await inbox.get()
                if isinstance(message, StokerError):
                    raise message
                if message.event == "end":
                    core.check_end(message)
                    return
                record = msgspec.json.decode(message.data, type=EventRecord)
                if record.offset > after:
                    after = record.offset
                    yield record
        finally:
            if line.forget(topic, inbox) and line.broken is None:
                with contextlib.suppress(DaemonError):  # a line that breaks now has forgotten it as well
                    await line.ask("unsubscribe", {"job": self.id}, object)

    async def stream(self) -> AsyncIterator[Any]:
        async for event in self.events():
            if event.kind == "chunk":
                yield event.value()

    async def logs(self) -> AsyncIterator[str]:
        """Log lines and captured output as text, as they come."""
        async for event in self.events():
            text = event.text()
            if text is not None:
                yield text

    async def cancel(self, reason: str = "cancelled by a client") -> JobRecord:
        found: JobRecord = await self._client.ask("cancel", JobRecord, job=self.id, reason=reason)
        return found

    async def retry(self) -> JobRecord:
        found: JobRecord = await self._client.ask("retry", JobRecord, job=self.id)
        return found

    def __repr__(self) -> str:
        return f"<job {self.id}>"
