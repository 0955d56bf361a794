"""The standard library's logging, sent to the log of the job that logs.

One handler for the whole process, made before any fork: making one costs a child as much as running a small job. Whose
log it is, it asks the current context: that of the process where a job has one to itself, of the task or thread else.
"""

from __future__ import annotations

import contextvars
import logging
from typing import Any

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
