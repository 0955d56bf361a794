"""The standard library's logging, and in residents what is printed, sent to the job that does it.

One handler for the whole process, made before any fork: making one costs a child as much as running a small job. Whose
log it is, it asks the current context: that of the process where a job has one to itself, of the task or thread else.
"""

from __future__ import annotations

import contextvars
import io
import logging
import sys
from typing import Any

from stoker.model.event import EventKind
from stoker.run.context import Context

_current: contextvars.ContextVar[Context] = contextvars.ContextVar("stoker_context")


class JobHandler(logging.Handler):
    """Turns log records into log lines of the current job; outside of any job they are dropped."""

    def emit(self, record: logging.LogRecord) -> None:
        context = _current.get(None)
        if context is None:
            return
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        context.log(record.getMessage(), record.levelname.lower(), **fields)


def install(level: str) -> None:
    """Let every logger of this process end here."""
    root = logging.getLogger()
    root.handlers[:] = [JobHandler()]
    root.setLevel(level.upper())


def belongs_to(context: Context) -> None:
    """From now on, what this process, task or thread logs is that job's."""
    _current.set(context)


def current() -> Context | None:
    """The job of this process, task or thread; None outside of any."""
    return _current.get(None)


class JobOutput(io.TextIOBase):
    """Stands for ``sys.stdout`` or ``sys.stderr`` where jobs share a process: text goes to the job that prints it, or
    to the real stream when no job does."""

    def __init__(self, kind: EventKind, real: Any) -> None:
        self._kind = kind
        self._real = real

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has it as an attribute
        return "utf-8"

    def write(self, text: str) -> int:
        context = _current.get(None)
        if context is None:
            self._real.write(text)
        else:
            context.print(self._kind, text)
        return len(text)

    def flush(self) -> None:
        self._real.flush()

    def fileno(self) -> int:
        return int(self._real.fileno())

    def writable(self) -> bool:
        return True


def share_output() -> None:
    """Send what each job of this process prints to that job."""
    sys.stdout = JobOutput(EventKind.STDOUT, sys.stdout)
    sys.stderr = JobOutput(EventKind.STDERR, sys.stderr)
