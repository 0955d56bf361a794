"""One handler, alone: run here, with a context that remembers what it said."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, overload

import msgspec

from stoker.model import packing
from stoker.model.audience import NOTIFICATION, Roles
from stoker.model.command import Command
from stoker.model.errors import JobFailed, UnknownMethod
from stoker.model.event import EventKind
from stoker.model.job import Progress, Submitted
from stoker.model.outcome import Done, Fault
from stoker.model.request import Request
from stoker.run import executor
from stoker.run.executor import Run
from stoker.run.joblog import JobHandler, belongs_to
from stoker.wire.frames import Assign, Progressed, Said
from stoker.wire.records import Delivery

R = TypeVar("R")
Answers: TypeAlias = Mapping[str, Any]
"""What the daemon would say, by method."""
RESULT_MAX = 1 << 30
PUSHES = ("send_to_all", "notify_now")
"""Methods by which events are pushed to people."""


class Asked(msgspec.Struct, frozen=True):
    """One submission, as the code under test made it; ``options`` are those that were given."""

    command: str
    input: Any
    options: dict[str, Any]

    @classmethod
    def of(cls, request: Request) -> Asked:
        input = msgspec.json.decode(request.input)
        given = msgspec.structs.asdict(request)
        options = {name: given[name] for name in packing.OPTIONS if name != "id" and given[name]}
        return cls(request.command, input, options)

    def get(self, name: str) -> Any:
        """A field of the input, or an option of the submission."""
        if isinstance(self.input, dict) and name in self.input:
            return self.input[name]
        return self.options.get(name)


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """One event that the code under test pushed to people; a notification is the event ``notification``."""

    user: str
    event: str
    data: Any
    role: str = Roles.web
    session: str | None = None
    instance: str | None = None
    pulse: bool = False

    @classmethod
    def of(cls, method: str, params: Mapping[str, Any]) -> Push:
        """What one of the methods :data:`PUSHES` pushes."""
        asked = {name: value for name, value in params.items() if name != "id"}
        if method == "notify_now":
            return cls(user=asked.pop("user"), event=NOTIFICATION, data=asked)
        return msgspec.convert(asked, cls)


class Heard(Protocol):
    """Whatever knows what was submitted."""

    @property
    def submitted(self) -> Sequence[Asked]: ...


def assert_submitted(
    where: Heard, command: Command[..., Any] | str, *, times: int | None = None, **expected: Any
) -> Asked:
    """There was a submission of ``command`` with these fields of its input, or options; the first such.

    ``times`` says how many there must be. Raises AssertionError, telling what there was instead.
    """
    name = command if isinstance(command, str) else command.name
    found = [one for one in where.submitted if one.command == name]
    fitting = [one for one in found if all(one.get(field) == value for field, value in expected.items())]
    if not fitting if times is None else len(fitting) != times:
        wanted = f"{name}({', '.join(f'{field}={value!r}' for field, value in expected.items())})"
        count = "once or more" if times is None else f"{times} times"
        there = "".join(f"\n    {one.command} {one.input} {one.options}" for one in where.submitted) or " nothing"
        raise AssertionError(
            f"{wanted} should have been submitted {count}, was {len(fitting)} times; there was:{there}"
        )
    return fitting[0] if fitting else Asked(name, {}, {})


class Recorder:
    """A run's line that remembers what the handler said, and answers its questions by ``answer``."""

    def __init__(self, answer: Callable[[str, bytes], Any]) -> None:
        self._answer = answer
        self.said: list[tuple[EventKind, Any]] = []

    def send(self, frame: Any) -> None:
        if isinstance(frame, Said):
            self.said.append((EventKind(frame.kind), msgspec.json.decode(frame.data)))
        elif isinstance(frame, Progressed):
            self.said.append((EventKind.PROGRESS, Progress(frame.percent, frame.message, frame.step)))

    def ask(self, method: str, params: bytes) -> bytes:
        return msgspec.json.encode(self._answer(method, params))

    async def aask(self, method: str, params: bytes) -> bytes:
        return self.ask(method, params)

    def of(self, kind: EventKind) -> list[Any]:
        return [value for found, value in self.said if found is kind]


class Result(Generic[R]):
    """What a handler returned and said."""

    def __init__(self, value: R, recorder: Recorder, submitted: list[Asked], pushed: list[Push]) -> None:
        self.value = value
        self.submitted = submitted
        self.pushed = pushed
        self.progress: list[Progress] = recorder.of(EventKind.PROGRESS)
        self.chunks: list[Any] = recorder.of(EventKind.CHUNK)
        self.logs: list[str] = [str(line["message"]) for line in recorder.of(EventKind.LOG)]
        self.events: list[tuple[str, Any]] = [(one["event"], one["data"]) for one in recorder.of(EventKind.EMIT)]


@overload
def run_inline(
    command: Command[..., Coroutine[Any, Any, R]], /, *args: Any, attempt: int = ..., answers: Answers | None = ...,
    **kwargs: Any,
) -> Result[R]: ...  # fmt: skip


@overload
def run_inline(
    command: Command[..., R], /, *args: Any, attempt: int = ..., answers: Answers | None = ..., **kwargs: Any
) -> Result[R]: ...


def run_inline(
    command: Command[..., Any], /, *args: Any, attempt: int = 1, answers: Answers | None = None, **kwargs: Any
) -> Result[Any]:
    """Run a handler here, with a context that remembers.

    Input is checked and passes through JSON as it would in a job. ``user`` and ``tags`` go beside it. What the handler
    raises is raised. ``answers`` is what the daemon would say to ``ctx.ask``, by method.
    """
    inline = _Inline(command, args, kwargs, attempt, answers or {})
    with inline.running():
        executor.perform(inline.run)
    return inline.result()


async def arun_inline(
    command: Command[..., Any], /, *args: Any, attempt: int = 1, answers: Answers | None = None, **kwargs: Any
) -> Result[Any]:
    """The same from a coroutine, on the loop that runs."""
    inline = _Inline(command, args, kwargs, attempt, answers or {})
    with inline.running():
        if command.spec.is_async:
            await executor.perform_async(inline.run)
        else:
            executor.perform(inline.run)
    return inline.result()


class _Inline(Generic[R]):
    """One inline run without a store."""

    def __init__(
        self, command: Command[..., R], args: Sequence[Any], kwargs: dict[str, Any], attempt: int,
        answers: Answers,
    ) -> None:  # fmt: skip
        inputs, options = packing.split_options(command.signature.parameters, kwargs)
        request = packing.pack(command, args, inputs, options)
        self._answers = answers
        self._submitted: list[Asked] = []
        self._pushed: list[Push] = []
        self._recorder = Recorder(self._answer)
        assert request.id is not None
        self.run = Run(assign(request.id, request, attempt), self._recorder, RESULT_MAX)
        executor.resolve(self.run, lambda: {command.name: command})
        executor.validate(self.run)
        self._check()

    def _answer(self, method: str, params: bytes) -> Any:
        if method == "submit":
            request = msgspec.json.decode(params, type=Request)
            self._submitted.append(Asked.of(request))
            return Submitted(request.id or "", True)
        if method in PUSHES:
            self._pushed.append(Push.of(method, msgspec.json.decode(params)))
            return Delivery(len(self._pushed), 0)
        if method not in self._answers:
            raise UnknownMethod(f"the handler asks {method!r}; give answers={{{method!r}: …}}")
        return self._answers[method]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        assert self.run.command is not None
        lent = self.run.warmth.lend(self.run.command, self.run.context)
        with contextlib.closing(self.run.context), listening(self.run), lent:
            yield

    def result(self) -> Result[R]:
        self.run.context.run_deferred()
        executor.capture(self.run)
        self._check()
        assert self.run.command is not None
        assert isinstance(self.run.outcome, Done)
        value: R = self.run.command.signature.output.decode(self.run.outcome.output)
        return Result(value, self._recorder, self._submitted, self._pushed)

    def _check(self) -> None:
        fault = getattr(self.run.outcome, "fault", None)
        if isinstance(fault, Fault):
            raise JobFailed(str(fault))


def assign(id: str, request: Request, attempt: int) -> Assign:
    """What the router would send to the process that runs the job."""
    return Assign(1, id, request.command, bytes(request.input), attempt, 1, request.whom, request.tags, None, None, 0)


@contextlib.contextmanager
def listening(run: Run) -> Iterator[None]:
    """Log records of the standard library go to the job's log meanwhile."""
    root, handler = logging.getLogger(), JobHandler()
    before = root.level
    root.addHandler(handler)
    root.setLevel(min(before, logging.INFO))
    belongs_to(run.context)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
