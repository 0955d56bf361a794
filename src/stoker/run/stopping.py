"""How a handler is stopped from outside: an exception raised where it is, or its task cancelled.

What is raised in an event loop's own code is logged there and forgotten, and while a loop waits nothing can be raised
in its thread at all. So where a handler is in a loop, the loop is told; only what runs in a task is raised into.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import types
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from stoker.model.interrupt import CancelRequested, Interrupted, TimeLimitExceeded
from stoker.wire.frames import Interrupt

if TYPE_CHECKING:
    import asyncio

OURS = os.path.dirname(__file__) + os.sep
LOOPS = os.path.join(os.path.dirname(os.__file__), "asyncio") + os.sep


def interruption(frame: Interrupt) -> TimeLimitExceeded | CancelRequested:
    """What is raised into a handler for a frame."""
    return (TimeLimitExceeded if frame.kind == "timeout" else CancelRequested)(frame.reason)


def throw(error: Interrupted) -> None:
    """Raise it right here."""
    raise error


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that this thread is in; where asyncio was never imported, there is none."""
    events = sys.modules.get("asyncio.events")
    return None if events is None else events._get_running_loop()


def raise_in_loop(error: Interrupted, loop: asyncio.AbstractEventLoop, own: asyncio.Task[Any] | None) -> None:
    """From within the thread of a loop, wherever in it that is: a task that computes is cancelled on the spot, one that
    waits by its loop. ``own`` is the handler's task, if it has the loop to itself."""
    asyncio = sys.modules["asyncio"]
    current = asyncio.current_task(loop)
    if current is None or not _is_in(current):
        cancel_task(loop, own)
        return
    tasks = _handlers(loop, own)

    def cancel() -> None:
        # it may be one that nobody waits for. Whoever does, and is told at once, is not told twice: that would be in
        # the middle of its clean-ups
        if current.done():
            _cancel(tasks)
        else:
            current.add_done_callback(lambda _: _cancel(tasks))

    loop.call_soon_threadsafe(cancel)
    raise asyncio.CancelledError(error.reason)


def _is_in(task: asyncio.Task[Any]) -> bool:
    """Whether this thread is in a task's own code, not in the loop's on its behalf: what the loop does not finish, such
    as putting a task back into its line, leaves that task asleep for ever."""
    coroutine: Any = task.get_coro()
    entered = getattr(coroutine, "cr_frame", None)
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith(LOOPS):
        return False
    while frame is not None and frame is not entered:
        frame = frame.f_back
    return frame is not None


def cancel_task(loop: asyncio.AbstractEventLoop, own: asyncio.Task[Any] | None) -> None:
    """Have the handler's task cancelled, from any thread; on a loop that the handler made itself, whatever runs there.
    Nothing if the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_cancel, _handlers(loop, own))


def _handlers(loop: asyncio.AbstractEventLoop, own: asyncio.Task[Any] | None) -> Collection[asyncio.Task[Any]]:
    """The tasks to be cancelled; those of now, because what a loop runs at its end, to close it, comes later."""
    found: Collection[asyncio.Task[Any]] = sys.modules["asyncio"].all_tasks(loop) if own is None else (own,)
    return found


def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


def raise_in_thread(thread: int, error: TimeLimitExceeded | CancelRequested) -> None:
    """Raise at the thread's next bytecode. CPython takes a class, so the reason rides in a subclass."""
    kind = type(error)

    def __init__(self: Any) -> None:
        kind.__init__(self, error.reason)

    raised = type(kind.__name__, (kind,), {"__init__": __init__})
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(raised))
