"""What a handler receives: who asked, and how to be heard while it works."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from stoker.model import audience, ids, packing
from stoker.model.command import Command
from stoker.model.event import EventKind
from stoker.model.schema import JsonCodec
from stoker.run import environ
from stoker.run.line import Line
from stoker.wire.frames import Assign, Checked, Progressed, Said

T = TypeVar("T")
_json = JsonCodec()
EVENT_MAX = 1 << 20
"""Bytes of one event at most."""


class Stream:
    """Streamed output of a job: pieces that a reader gets in order, each once, while the job runs or later."""

    def __init__(self, say: Callable[[EventKind, bytes], None]) -> None:
        self._say = say

    def write(self, chunk: Any) -> None:
        """Send one piece: text, or anything JSON can say."""
        self._say(EventKind.CHUNK, _json.encode(chunk))


class Context:
    """The running job, seen from its handler. Ask for it by annotating a parameter with this class.

    Every method may be called from any thread of the handler.
    """

    __stoker_context__ = True
    resident: Any = None
    """What the product's start hook made: see :meth:`stoker.Product.resident`."""
    _asks = 0
    _printed: Mapping[EventKind, str] = {}
    _deferred: deque[Callable[[], Any]] | None = None
    _exits: contextlib.ExitStack | None = None

    def __init__(self, assign: Assign, line: Line) -> None:
        self._assign = assign
        self._line = line

    @functools.cached_property
    def stream(self) -> Stream:
        """The job's streamed output."""
        return Stream(self._say)

    @property
    def job(self) -> str:
        """The job's id; the same for every attempt."""
        return self._assign.job

    @property
    def command(self) -> str:
        return self._assign.command

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return self._assign.attempt

    @property
    def user(self) -> str | None:
        """On whose behalf the job was submitted."""
        return self._assign.user

    @property
    def role_term(self) -> int | None:
        """The term in which this node holds the role that the command asks for: a fence for what is done outside. A
        later holder has a higher number."""
        return self._assign.role_term

    @property
    def tags(self) -> tuple[str, ...]:
        return self._assign.tags

    def progress(self, percent: float | None = None, message: str | None = None, *, step: str | None = None) -> None:
        """Say how far the job is: ``percent`` from 0 to 100, None when unknown. The newest stands on the job."""
        if percent is not None and not 0 <= percent <= 100:
            raise ValueError(f"percent lies between 0 and 100, not {percent}")
        self._line.send(Progressed(self._assign.run, percent, message, step))

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        """Write a line to the job's log, with fields of any JSON value."""
        self._say(EventKind.LOG, _json.encode({"level": level, "message": message, **fields}))

    def emit(self, event: str, data: Any = None) -> None:
        """Send a custom event to whoever watches this job; it is kept with the job."""
        self._say(EventKind.EMIT, _json.encode({"event": event, "data": data}))

    def submit(self, command: Command[..., Any] | str, /, *args: Any, **kwargs: Any) -> str:
        """Submit another job on behalf of the same user; its id. Stored when this returns. Options (``delay``,
        ``priority``, …) go beside the input, as in a client's submit.

        Safe to repeat: a second attempt of this job submits the same jobs under the same ids, in the order of the
        calls, and gets back those that are there.
        """
        return self._submitted(self._line.ask("submit", self._request(command, args, kwargs)))

    async def asubmit(self, command: Command[..., Any] | str, /, *args: Any, **kwargs: Any) -> str:
        """The same from a coroutine."""
        return self._submitted(await self._line.aask("submit", self._request(command, args, kwargs)))

    def ask(self, method: str, **params: Any) -> Any:
        """Ask the router: any method a script may call, such as ``stats`` or ``job``. Raises StokerError."""
        return msgspec.json.decode(self._line.ask(method, _json.encode(params)))

    async def aask(self, method: str, **params: Any) -> Any:
        """The same from a coroutine."""
        return msgspec.json.decode(await self._line.aask(method, _json.encode(params)))

    def send_to_all(
        self, role: str, user: str | int, event: str, data: Any = None, *, session: str | None = None,
        instance: str | None = None, pulse: bool = False,
    ) -> None:  # fmt: skip
        """Push an event to the browser tabs of a user (``"0"``: of everybody), of one session or instance of theirs:
        ``ctx.send_to_all(Roles.web, "u7", "indexed", {"chunks": 42})``. Stored when this returns, unless it is a
        ``pulse``. Raises StokerError."""
        self.ask("send_to_all", **audience.push(role, user, event, data, session, instance, pulse))

    async def asend_to_all(
        self, role: str, user: str | int, event: str, data: Any = None, *, session: str | None = None,
        instance: str | None = None, pulse: bool = False,
    ) -> None:  # fmt: skip
        """The same from a coroutine."""
        await self.aask("send_to_all", **audience.push(role, user, event, data, session, instance, pulse))

    def notify_now(
        self, user: str | int, message: str, *, title: str | None = None, level: str = "info", data: Any = None
    ) -> None:
        """Push a notification to a user. ``level`` is ``info``, ``success``, ``warning`` or ``error``."""
        self.ask("notify_now", **audience.notification(user, message, title, level, data))

    async def anotify_now(
        self, user: str | int, message: str, *, title: str | None = None, level: str = "info", data: Any = None
    ) -> None:
        """The same from a coroutine."""
        await self.aask("notify_now", **audience.notification(user, message, title, level, data))

    def later(self, action: Callable[[], Any]) -> None:
        """Run ``action`` after the current code: on the next turn of the loop in a coroutine, else when the handler
        has returned and before its result is reported."""
        # where asyncio was never imported, no loop can run
        running = sys.modules.get("asyncio.events")
        loop = running._get_running_loop() if running is not None else None
        if loop is None:
            self._at_first_use("_deferred", deque).append(action)
        else:
            loop.call_soon(action)

    def cleanup(self, action: Callable[[], Any]) -> None:
        """Run ``action`` when the handler ends, however it ends short of being killed; last registered, first run."""
        self._at_first_use("_exits", contextlib.ExitStack).callback(action)

    def enter(self, manager: contextlib.AbstractContextManager[T]) -> T:
        """Enter a context manager that is left when the handler ends."""
        entered: T = self._at_first_use("_exits", contextlib.ExitStack).enter_context(manager)
        return entered

    @contextlib.contextmanager
    def environment(self, values: Mapping[str, str | None]) -> Iterator[None]:
        """Have ``values`` in ``os.environ`` within the block, for this job alone: another job never sees them, also
        where both share a process. None hides a variable."""
        with environ.private(values):
            yield

    def print(self, kind: EventKind, text: str) -> None:
        """Keep a piece of captured output, line by line. For residents, where jobs share one stdout."""
        printed: dict[EventKind, str] = self._at_first_use("_printed", dict)
        text = printed.pop(kind, "") + text
        lines, end, rest = text.rpartition("\n")
        if end:
            self._say(kind, _json.encode(lines + end))
        if rest:
            printed[kind] = rest

    def checked(self, slug: str, id: str, status: str, seconds: float | None) -> None:
        """Tell who watches schedules of a check-in. For :mod:`stoker.crons`."""
        self._line.send(Checked(self._assign.run, slug, id, status, seconds))

    def run_deferred(self) -> None:
        """Run what :meth:`later` put off. For the executor."""
        while self._deferred:
            self._deferred.popleft()()

    def close(self) -> None:
        """Run the clean-ups. For the executor."""
        if self._exits is not None:
            self._exits.close()
        for kind, rest in self._printed.items():
            self._say(kind, _json.encode(rest))

    def _at_first_use(self, name: str, make: Callable[[], Any]) -> Any:
        """What most jobs never need, and 20,000 a second should not pay for. Of two threads that need it first, both
        get the same."""
        found = self.__dict__.get(name)
        return self.__dict__.setdefault(name, make()) if found is None else found

    def _say(self, kind: EventKind, data: bytes) -> None:
        if len(data) > EVENT_MAX:
            raise ValueError(f"one event may have {EVENT_MAX} bytes, this one has {len(data)}; send it in pieces")
        self._line.send(Said(self._assign.run, kind, time.time(), data))

    def _request(self, command: Command[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        self._asks += 1
        parameters = command.signature.parameters if isinstance(command, Command) else ()
        inputs, options = packing.split_options(parameters, kwargs)
        # the same in every attempt, another when the job is begun anew by hand
        round = f"r{self._assign.round}" if self._assign.round else ""
        options.setdefault("id", ids.child_id(f"{ids.job_id(self.job)}{round}", self._asks))
        options.setdefault("user", self.user)
        request = packing.pack(command, args, inputs, options)
        if request.trace is None and self._assign.trace is not None:
            request.trace = self._assign.trace
        return _json.encode(request)

    @staticmethod
    def _submitted(answer: bytes) -> str:
        return str(msgspec.json.decode(answer)["id"])
