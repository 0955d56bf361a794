"""A run, as a pipeline of small steps over one value.

    resolve → validate → limit → perform → capture

Each step takes the :class:`Run` and adds to it; the first that finds the end sets ``outcome``, and the rest are passed
by. What a step raises by mistake is the job's failure, never the process's.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from stoker.model import interrupt, tracing
from stoker.model.command import Command
from stoker.model.errors import AppError, InvalidInput
from stoker.model.interrupt import Interrupted
from stoker.model.outcome import Blame, Cancelled, Done, Failed, Fault, Lost, Outcome, Retry, Snoozed
from stoker.model.product import unknown
from stoker.model.quantities import show_size
from stoker.run import stopping
from stoker.run.context import Context
from stoker.run.line import Line
from stoker.run.warm import COLD, Warmth
from stoker.wire.frames import DIRECT, Assign, Ended

if TYPE_CHECKING:
    import asyncio

Commands = Mapping[str, Command[Any, Any]]
Source = Callable[[], Commands]
"""Where the commands come from; may find that the code has changed, and raise AppError when it is broken."""
TRACEBACK_MAX = 16_000
"""Characters of a traceback kept; its end, which says what happened."""
MESSAGE_MAX = 4_000
"""Characters of an exception's text kept; its beginning."""
NOTHING = contextlib.nullcontext()
ENDS_A_PROCESS = (KeyboardInterrupt, GeneratorExit)
"""What leaves :func:`execute`. Where many jobs share a process, whoever runs it there makes it this one job's end."""
_parcels: list[Callable[[Assign], Any]] = []


def carry(parcel: Callable[[Assign], Any]) -> None:
    """Dispatched runs of this process find their Buffers here. For a resident, at its start."""
    _parcels[:] = [parcel]


def nothing() -> None:
    """For what is not there."""


class Run:
    """One attempt on its way through the pipeline."""

    command: Command[Any, Any] | None = None
    arguments: Mapping[str, Any] = {}
    value: Any = None
    outcome: Outcome | None = None
    interrupted: Interrupted | None = None
    """What stopped it, where that reaches its handler as a cancelled task."""
    task: asyncio.Task[Any] | None = None
    """Its coroutine, while that has a loop to itself."""
    warmth: Warmth = COLD
    exchange: Any = None
    """The Buffers that come and go with a dispatched job; None for a stored one, which has none."""
    errors: list[BaseException] | None = None
    """Where an exception is kept, if anybody wants it."""

    def __init__(self, assign: Assign, line: Line, result_max: int) -> None:
        self.assign = assign
        self.context = Context(assign, line)
        self.result_max = result_max
        self.on_leave: Callable[[], None] = nothing
        """Called when the handler is through, before its clean-ups: the line that may interrupt it must not any more.
        """
        self.started = time.time()
        if assign.run >= DIRECT:
            self.exchange = _parcels[0](assign)

    def interrupt(self, error: Interrupted) -> None:
        """Stop the handler, from within its own thread, wherever that is."""
        loop = stopping.running_loop()
        if loop is None:
            raise error
        self.interrupted = error
        own = self.task if self.task is not None and self.task.get_loop() is loop else None
        stopping.raise_in_loop(error, loop, own)

    @property
    def moving(self) -> contextlib.AbstractContextManager[Any]:
        """Where Buffers can be read and written."""
        return NOTHING if self.exchange is None else self.exchange

    @property
    def ended(self) -> Ended:
        assert self.outcome is not None
        seconds = time.time() - self.started
        if self.exchange is None:
            return Ended(self.assign.run, self.outcome, self.started, (), seconds)
        return Ended(self.assign.run, self.outcome, self.started, self.exchange.sizes(self.outcome), seconds)


def resolve(run: Run, source: Source) -> None:
    """Find the handler by its registered name; nothing is ever imported by a name from data."""
    try:
        commands = source()
    except AppError as error:
        run.outcome = Failed(Fault("AppError", error.message))
        return
    run.command = commands.get(run.assign.command)
    if run.command is None:
        run.outcome = Failed(Fault("UnknownCommand", unknown(run.assign.command, commands)))


def validate(run: Run) -> None:
    """Check the input against the handler's types, again: the code may be newer than the job."""
    assert run.command is not None
    signature = run.command.signature
    try:
        run.arguments = signature.arguments(run.assign.input)
    except InvalidInput as error:
        run.outcome = Failed(Fault("InvalidInput", error.message))
        return
    if run.exchange is not None:
        run.arguments = run.exchange.filled(run.arguments)
    if signature.context is not None:
        run.arguments = {**run.arguments, signature.context: run.context}


def no_limit() -> None:
    """For places where a job shares its process with others: what bounds one would bound all."""


def perform(run: Run) -> None:
    """Call the handler, in this thread; a coroutine gets a loop of its own."""
    assert run.command is not None
    run.started = time.time()
    value = run.command.handler(**run.arguments)
    if run.command.spec.script:
        from stoker.run import script  # what it loads would make every fork slower

        value = script.perform(value, run.command.spec.script)
    if inspect.iscoroutine(value):
        import asyncio  # loaded already where an application has coroutines; see preload

        value = asyncio.run(_alone(run, value))
    run.value = value
    run.context.run_deferred()


async def _alone(run: Run, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """A coroutine that has its loop to itself."""
    import asyncio  # loaded by now

    run.task = asyncio.current_task()
    try:
        return await coroutine
    finally:
        run.task = None


async def perform_async(run: Run) -> None:
    """Call the handler as a task of the loop that runs already."""
    assert run.command is not None
    run.started = time.time()
    run.value = await run.command.handler(**run.arguments)
    run.context.run_deferred()


def capture(run: Run) -> None:
    """The handler's value as JSON, in bounds."""
    assert run.command is not None
    try:
        data = run.command.signature.output.encode(run.value)
    except InvalidInput as error:
        run.outcome = Failed(Fault("InvalidOutput", f"the handler returned what it does not declare: {error.message}"))
        return
    if len(data) > run.result_max:
        run.outcome = Failed(
            Fault("ResultTooLarge", f"the result has {show_size(len(data))}, more than {show_size(run.result_max)}; "
                  "write it to a file and return its name")
        )  # fmt: skip
        return
    run.outcome = Done(data)


def prepare(run: Run, source: Source, limit: Callable[[], None]) -> bool:
    """The steps before the handler; whether it is to be called."""
    resolve(run, source)
    if run.outcome is None:
        validate(run)
    if run.outcome is None:
        limit()
    return run.outcome is None


def execute(run: Run, source: Source, limit: Callable[[], None] = no_limit) -> None:
    """The whole pipeline for a process or a thread."""
    with Named(run), run.moving:
        if prepare(run, source, limit):
            assert run.command is not None
            try:
                with run.warmth.lend(run.command, run.context):
                    perform(run)
            finally:
                try:
                    run.on_leave()
                finally:
                    run.context.close()
            capture(run)


async def execute_async(run: Run, source: Source) -> None:
    """The whole pipeline for a task."""
    with Named(run), run.moving:
        if prepare(run, source, no_limit):
            assert run.command is not None
            try:
                async with await run.warmth.alend(run.command, run.context):
                    await perform_async(run)
            finally:
                run.context.close()
            capture(run)


class Named:
    """Within it every exception becomes one of the closed set of outcomes, and all of it is one span where somebody
    traces."""

    def __init__(self, run: Run) -> None:
        self._run = run
        assign = run.assign
        self._span = tracing.running(assign.command, assign.job, assign.attempt, assign.trace)

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if error is None and self._span is None:
            return True
        kept = error is not None and not isinstance(error, ENDS_A_PROCESS)
        if error is not None and kept:
            self._keep(error)
        if self._span is not None:
            self._span.left(self._run.outcome)
        return kept

    def _keep(self, error: BaseException) -> None:
        run = self._run
        if run.errors is not None:
            run.errors.append(error)
        run.outcome = outcome_of(error, run)
        # a resident runs many jobs: what the handler had in memory goes now, not when a collection finds the cycle
        traceback.clear_frames(error.__traceback__)


def outcome_of(error: BaseException, run: Run) -> Outcome:
    """What an exception out of a handler means."""
    match error:
        case interrupt.Snooze():
            return Snoozed(error.after, None if error.reason is None else _text(error))
        case interrupt.Cancel():
            return Cancelled(_text(error))
        case interrupt.Retry():
            return Retry(Fault("Retry", _text(error)), error.after)
        case interrupt.TimeLimitExceeded():
            return Retry(Fault("TimeLimit", error.reason, _trace(error)))
        case interrupt.CancelRequested():
            return Cancelled(error.reason)
        case interrupt.DaemonGone():
            return Lost(Fault("DaemonGone", error.reason), Blame.HOUSE)
        case SystemExit():
            return Lost(Fault("SystemExit", f"the handler called sys.exit({error.code!r}) instead of returning"))
        case _ if _is_task_cancelled(error):
            if run.interrupted is None:
                return Cancelled("the handler's task was cancelled")
            return outcome_of(run.interrupted.with_traceback(error.__traceback__), run)
        case MemoryError() if run.assign.memory:
            return Retry(Fault("MemoryLimit", f"memory {show_size(run.assign.memory)} exceeded", _trace(error)))
    fault = Fault(type(error).__name__, _text(error), _trace(error))
    if run.command is not None and run.command.rules.worth(error):
        return Retry(fault)
    return Failed(fault)


def _is_task_cancelled(error: BaseException) -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def _trace(error: BaseException) -> str:
    """The traceback from the handler on; our own frames tell a user nothing."""
    frames = error.__traceback__
    while frames is not None and "/stoker/run/" in frames.tb_frame.f_code.co_filename and frames.tb_next is not None:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    return _sendable(text)[-TRACEBACK_MAX:]


def _text(error: BaseException) -> str:
    """What an exception says; some cannot even do that."""
    try:
        return _sendable(str(error))[:MESSAGE_MAX]
    except Exception as problem:
        return f"(its text could not be made: {type(problem).__name__})"


def _sendable(text: str) -> str:
    """File names that are no UTF-8 come as text that cannot be sent."""
    return text.encode(errors="backslashreplace").decode()
