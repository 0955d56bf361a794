"""The daemon's log: a timestamp, the role of the process, the message, and fields; as text or as JSON."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from stoker.settings import Settings

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Tee:
    """Lines to the standard error stream, and to a file when one is set.

    On an event loop the lines of one turn go out with one write at its end; elsewhere each at once. A line of trouble
    never waits.
    """

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._lines: list[str] = []

    def _soon(self, message: str) -> None:
        loop = asyncio._get_running_loop()
        self._lines.append(message)
        if loop is None:
            self._write()
        elif len(self._lines) == 1:
            loop.call_soon(self._write)

    def _now(self, message: str) -> None:
        self._lines.append(message)
        self._write()

    def _write(self) -> None:
        if not self._lines:
            return
        text = "\n".join(self._lines)
        self._lines.clear()
        for stream in (sys.stderr, self._file):
            if stream is not None:
                put(text, stream)

    msg = log = debug = info = _soon
    warn = warning = error = critical = exception = _now


def put(text: str, stream: TextIO) -> None:
    """Write a line, if it can be: a reader that went away, a full disk, and the work goes on without its log."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        # what is left in the buffer goes nowhere, or Python would end with 120 for not getting rid of it
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), stream.fileno())
    except OSError:
        pass


def configure(settings: Settings) -> None:
    """Set up logging for this process."""
    file = open(settings.log_file, "a", encoding="utf-8") if settings.log_file else None  # noqa: SIM115 (open for life)
    tee = Tee(file)  # one for all loggers, so that lines stay in their order
    render: Any = structlog.processors.JSONRenderer() if settings.log_format == "json" else line
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level]),
        logger_factory=lambda *_: tee,
        cache_logger_on_first_use=True,
    )


def line(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> str:
    """``2026-11-21T12:00:00Z router    info  ready  boot=8c1f…``"""
    at = event.pop("timestamp")
    role = event.pop("role", "router")
    level = event.pop("level")
    message = event.pop("event")
    trace = event.pop("exception", None)
    fields = " ".join(f"{name}={value}" for name, value in event.items())
    text = f"{at} {role:<8} {level:<7} {message}{'  ' + fields if fields else ''}"
    return f"{text}\n{trace}" if trace else text
