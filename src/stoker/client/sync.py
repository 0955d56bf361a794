"""The client for ordinary code: every call blocks until it is answered.

Connections are kept and used again; a conversation that waits has one to itself, so threads do not wait for each other.
A line that broke is made anew once per call, which is safe: whatever may be sent twice carries an id of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, overload

import msgspec

from stoker.client import core
from stoker.client.line import Line
from stoker.client.pushing import Pushing
from stoker.model import ids, packing
from stoker.model.command import Command
from stoker.model.errors import AlreadyRunning, DaemonError, DaemonSilent, DaemonUnavailable, WaitTimeout
from stoker.model.job import Progress, Submitted
from stoker.model.request import Request
from stoker.settings import Settings
from stoker.wire import forked, messages
from stoker.wire.records import EventRecord, JobRecord

T = TypeVar("T")
R = TypeVar("R")
STARTING = 5.0
"""Seconds to wait for the socket of a daemon that holds the store but does not listen (it starts or stops)."""


class Client(Pushing):
    """Talks to the daemon of this project, or of the one that ``address`` names (a path or ``tcp://host:port``).

    Safe to share between threads, and across a fork (a child makes its own connections). ``timeout`` is how many
    seconds of silence mean that the daemon is gone; a long job keeps the line alive by pings, so it bounds no job.
    """

    def __init__(
        self, address: str | None = None, *, token: str | None = None, timeout: float = core.SILENCE,
        settings: Settings | None = None,
    ) -> None:  # fmt: skip
        self.settings, self._stores = core.settings_for(address, settings)
        self.address = address or str(self.settings.socket_path)
        self._token = token if token is not None else self.settings.token
        self._timeout = timeout
        self._begin()
        forked.in_child(self, Client._begin)

    def _begin(self) -> None:
        """No connections yet; a forked child's are its own."""
        self._idle: list[Line] = []
        self._lock = threading.Lock()

    def try_connect(self) -> bool:
        """Whether a daemon answers; never raises."""
        try:
            self.ask("ping", timeout=1.0)
        except DaemonError:
            return False
        return True

    def ask(self, method: str, kind: type[Any] = object, *, timeout: float | None = None, **params: Any) -> Any:
        """Call a method of the daemon; ``kind`` is the type to read the answer as."""
        return self._again(lambda line: line.ask(method, params, kind), timeout)

    @overload
    def submit(self, command: Command[..., R], /, *args: Any, **kwargs: Any) -> JobHandle[R]: ...

    @overload
    def submit(self, command: str, /, *args: Any, **kwargs: Any) -> JobHandle[Any]: ...

    def submit(self, command: Command[..., Any] | str, /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Store a job and return at once. Options (``user``, ``delay``, ``priority``, …) go beside the input.

        With no daemon running the job is stored all the same. Raises InvalidInput and other RequestErrors; when this
        returns, the job is on disk.
        """
        inputs, options = packing.split_options(_parameters(command), kwargs)
        return self.submit_request(command, packing.pack(command, args, inputs, options))

    def submit_request(self, command: Command[..., Any] | str, request: Request) -> JobHandle[Any]:
        """Store a request that is packed already."""
        (answer,) = self.submit_requests([request], {command.name: command} if isinstance(command, Command) else {})
        if isinstance(answer, Exception):
            raise answer
        return JobHandle(self, answer.id, command if isinstance(command, Command) else None, answer.created)

    @overload
    def submit_many(self, command: Command[..., R], inputs: Sequence[Any], **options: Any) -> list[JobHandle[R]]: ...

    @overload
    def submit_many(self, command: str, inputs: Sequence[Any], **options: Any) -> list[JobHandle[Any]]: ...

    def submit_many(
        self, command: Command[..., Any] | str, inputs: Sequence[Any], **options: Any
    ) -> list[JobHandle[Any]]:
        """Store many jobs of one command in one transaction, all or none: each input is the record, or a mapping of
        the parameters."""
        typed = command if isinstance(command, Command) else None
        requests = [
            packing.pack(command, (), one, options)
            if typed and isinstance(one, Mapping) and typed.signature.record is None
            else packing.pack(command, (one,), {}, options)
            for one in inputs
        ]
        answers = self.submit_requests(requests, {typed.name: typed} if typed else {})
        handles = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            handles.append(JobHandle(self, answer.id, typed, answer.created))
        return handles

    def submit_requests(
        self, requests: Sequence[Request], commands: Mapping[str, Command[..., Any]]
    ) -> list[Submitted | Exception]:
        """Store requests that are packed already; straight into the store when no daemon runs."""

        def send(line: Line) -> list[Submitted | Exception]:
            nonlocal requests
            asked, requests = requests, core.repeated(requests)
            if len(asked) == 1:
                return [line.ask("submit", asked[0], Submitted)]
            return list(line.ask("submit_many", {"jobs": asked}, list[Submitted]))

        deadline = time.monotonic() + STARTING
        while True:
            try:
                return self._again(send)
            except DaemonUnavailable as gone:
                if not self._stores:
                    raise
                # not at the top: the zygote imports this module, and must never import the store
                from stoker.client import offline

                try:
                    return offline.submit(self.settings, requests, commands)
                except AlreadyRunning:
                    if time.monotonic() > deadline:
                        raise gone from None
                    time.sleep(0.05)

    @overload
    def call(self, command: Command[..., R], /, *args: Any, **kwargs: Any) -> R: ...

    @overload
    def call(self, command: str, /, *args: Any, **kwargs: Any) -> Any: ...

    def call(self, command: Command[..., Any] | str, /, *args: Any, **kwargs: Any) -> Any:
        """Submit and wait: the handler's value. Raises JobFailed or JobCancelled.

        A command declared ``wait=False`` answers at once, with the job's id.
        """
        handle = self.submit(command, *args, **kwargs)
        if isinstance(command, Command) and not command.spec.wait:
            return handle.id
        return handle.result()

    def job(self, id: str) -> JobHandle[Any]:
        """A handle of a job by its id; nothing is asked yet."""
        return JobHandle(self, ids.job_id(id), None, False)

    def jobs(self, **filter: Any) -> list[JobRecord]:
        """Jobs, newest first: ``status``, ``command``, ``product``, ``user``, ``tag``, ``limit``, ``before``."""
        found: list[JobRecord] = self.ask("jobs", list[JobRecord], **filter)
        return found

    def stats(self) -> dict[str, Any]:
        """Uptime, slots, queue and rates of the daemon."""
        found: dict[str, Any] = self.ask("stats", dict[str, Any])
        return found

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def line(self, timeout: float | None = None) -> Iterator[Line]:
        """A connection of one's own for a while: kept for the next when left well, closed when it broke."""
        line = self._take() or Line(self.address, timeout or self._timeout, self._token)
        try:
            yield line
        except BaseException as error:
            if isinstance(error, DaemonError) or not isinstance(error, Exception):
                line.close()
            else:
                self._give(line)
            raise
        self._give(line)

    def _again(self, talk: Callable[[Line], T], timeout: float | None = None) -> T:
        """Talk over a kept connection; if that one turns out to be dead, over a new one."""
        line = self._take()
        if line is not None:
            line.expect(timeout or self._timeout)
            try:
                value = talk(line)
            except DaemonUnavailable:
                line.close()
                self.close()
            except DaemonSilent:
                line.close()
                raise
            except Exception:
                self._give(line)
                raise
            else:
                self._give(line)
                return value
        with self.line(timeout) as fresh:
            return talk(fresh)

    def _take(self) -> Line | None:
        with self._lock:
            while self._idle:
                line = self._idle.pop()
                if not line.gone:
                    return line
                line.close()
            return None

    def _give(self, line: Line) -> None:
        if not line.sound:
            line.close()
            return
        line.expect(self._timeout)
        with self._lock:
            self._idle.append(line)


def _parameters(command: Command[..., Any] | str) -> Sequence[str]:
    return command.signature.parameters if isinstance(command, Command) else ()


class JobHandle(Generic[R]):
    """One submitted job. ``created`` is False when the submission stood for a job that was there already."""

    def __init__(self, client: Client, id: str, command: Command[..., R] | None, created: bool) -> None:
        self._client = client
        self._command = command
        self.id = id
        self.created = created

    def record(self) -> JobRecord:
        """Everything about the job, and why it waits if it does."""
        found: JobRecord = self._client.ask("job", JobRecord, job=self.id)
        return found

    def status(self) -> str:
        """``new``, ``running``, ``completed``, ``failed`` or ``cancelled``."""
        return self.record().status

    def progress(self) -> Progress | None:
        """The newest progress report."""
        return self.record().progress

    def wait(self, timeout: float | None = None) -> JobRecord:
        """Wait until the job has ended. Raises :class:`WaitTimeout` after ``timeout`` seconds; the job goes on."""
        found: JobRecord = self._client.ask("wait", JobRecord, job=self.id, seconds=timeout)
        if not found.ended:
            raise WaitTimeout(f"{found.name} {self.id} is still {found.status}; it goes on")
        return found

    def result(self, timeout: float | None = None) -> R:
        """Wait, and return the handler's value: of its declared type when the command is at hand, else plain JSON
        values. Raises JobFailed, JobCancelled or WaitTimeout."""
        raw = core.result(self.wait(timeout))
        if self._command is not None:
            value: R = self._command.signature.output.decode(bytes(raw))
            return value
        plain: R = msgspec.json.decode(raw)
        return plain

    def events(self, after: int = 0, *, follow: bool = True) -> Iterator[EventRecord]:
        """What the job says, from the beginning or from a cursor, each once and in order; until it has ended, or
        until now with ``follow=False``."""
        if not follow:
            while page := self._client.ask("events", list[EventRecord], job=self.id, after=after):
                yield from page
                after = page[-1].offset
            return
        with self._client.line() as line:
            line.ask("subscribe", {"job": self.id, "after": after}, object)
            while True:
                message = line.next()
                if not isinstance(message, messages.Event) or message.topic != f"job:{self.id}":
                    continue
                if message.event == "end":
                    core.check_end(message)
                    return
                yield msgspec.json.decode(message.data, type=EventRecord)

    def stream(self) -> Iterator[Any]:
        """The pieces that the handler writes with ``ctx.stream``, as they come."""
        return (event.value() for event in self.events() if event.kind == "chunk")

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """Log lines and captured output as text."""
        for event in self.events(follow=follow):
            text = event.text()
            if text is not None:
                yield text

    def cancel(self, reason: str = "cancelled by a client") -> JobRecord:
        """Cancel: a waiting job at once, a running one by exception, then SIGTERM, then SIGKILL of all it started."""
        found: JobRecord = self._client.ask("cancel", JobRecord, job=self.id, reason=reason)
        return found

    def retry(self) -> JobRecord:
        """Run an ended job again, with its attempts counted from the start."""
        found: JobRecord = self._client.ask("retry", JobRecord, job=self.id)
        return found

    def __repr__(self) -> str:
        return f"<job {self.id}>"
