"""What a job says while it runs, and the places people read it from."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class EventKind(StrEnum):
    """The kinds of stored events of a job, each append-only and replayable in order."""

    LOG = "log"
    """A log line: ``{"level", "message", …fields}``."""
    STDOUT = "stdout"
    STDERR = "stderr"
    """Captured output of the process, as text."""
    CHUNK = "chunk"
    """A piece of streamed output, any JSON value."""
    EMIT = "emit"
    """A custom event of the handler: ``{"event", "data"}``."""
    PROGRESS = "progress"
    """A progress report, as it was at that moment; the newest also stands on the job."""
    ATTEMPT = "attempt"
    """The end of an attempt that was not the job's end: ``{"attempt", "outcome", "error", "next"}``."""


class NewEvent(msgspec.Struct, frozen=True):
    """An event to be stored. ``data`` is JSON."""

    kind: EventKind
    at: float
    data: bytes


class Event(msgspec.Struct, frozen=True):
    """A stored event. ``seq`` grows over the whole store and is the cursor to read on from."""

    seq: int
    job: str
    attempt: int
    kind: EventKind
    at: float
    data: msgspec.Raw
