"""OpenTelemetry, where the application uses it: a span when a job is submitted, one for each attempt, and what joins
them carried through the job as a W3C ``traceparent``.

Nothing here loads OpenTelemetry. Where nobody else has, all of this is one look into ``sys.modules``; where nobody has
set a tracer provider, its API makes spans that cost little and go nowhere. Names are those of the semantic conventions
for messaging: https://opentelemetry.io/docs/specs/semconv/messaging/
"""

from __future__ import annotations

import contextlib
import re
import sys
from typing import Any

from stoker._version import __version__
from stoker.model.ids import NO_JOB
from stoker.model.outcome import Cancelled, Failed, Lost, Outcome, Retry, Snoozed

API = "opentelemetry.trace"
FLUSH_MS = 2000
"""Milliseconds that a process which ends gives its spans to get away."""
_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


def is_traceparent(text: str) -> bool:
    """Whether this is what W3C Trace Context calls a ``traceparent``."""
    return _PARENT.fullmatch(text) is not None


def submitted(command: str, job: str) -> str | None:
    """Record that a job is handed over, as a span of its own; what joins its attempts to that, or None."""
    api = sys.modules.get(API)
    if api is None:
        return None
    span = _tracer(api).start_span(
        f"submit {command}", kind=api.SpanKind.PRODUCER, attributes=_attributes("submit", "create", command, job)
    )
    span.end()
    found = span.get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}" if found.is_valid else None


def running(command: str, job: str, attempt: int, parent: str | None) -> Attempt | None:
    """Begin the span of an attempt, current from here on; None where nobody traces."""
    api = sys.modules.get(API)
    if api is None or job == NO_JOB:
        return None
    # a tracer's trouble is its own, here and at the end
    with contextlib.suppress(Exception):
        return Attempt(api, command, job, attempt, parent)
    return None


def flush() -> None:
    """This process ends: let its spans get away, where they wait for company."""
    api = sys.modules.get(API)
    push = None if api is None else getattr(api.get_tracer_provider(), "force_flush", None)
    if push is not None:
        # an exporter's trouble is its own
        with contextlib.suppress(Exception):
            push(FLUSH_MS)


class Attempt:
    """The span of one attempt, in which whatever the handler records is at home."""

    def __init__(self, api: Any, command: str, job: str, attempt: int, parent: str | None) -> None:
        from opentelemetry import context  # loaded already: the API of traces stands on it

        self._api = api
        self._contexts = context
        attributes = {**_attributes("run", "process", command, job), "stoker.attempt": attempt}
        self._span = _tracer(api).start_span(
            f"run {command}", _context(api, parent), kind=api.SpanKind.CONSUMER, attributes=attributes
        )
        self._token = context.attach(api.set_span_in_context(self._span))

    def left(self, outcome: Outcome | None) -> None:
        """The attempt has come to this."""
        with contextlib.suppress(Exception):
            self._tell(outcome)

    def _tell(self, outcome: Outcome | None) -> None:
        span = self._span
        match outcome:
            case Failed(fault) | Retry(fault) | Lost(fault):
                event = {"exception.type": fault.type, "exception.message": fault.message}
                if fault.traceback:
                    event["exception.stacktrace"] = fault.traceback
                span.set_attribute("error.type", fault.type)
                span.add_event("exception", event)
                span.set_status(self._api.StatusCode.ERROR, fault.message)
            case Cancelled():
                span.set_attribute("stoker.outcome", "cancelled")
            case Snoozed():
                span.set_attribute("stoker.outcome", "snoozed")
        self._contexts.detach(self._token)
        span.end()


def _tracer(api: Any) -> Any:
    return api.get_tracer("stoker", __version__)


def _attributes(name: str, kind: str, command: str, job: str) -> dict[str, Any]:
    return {
        "messaging.system": "stoker",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": command,
        "messaging.message.id": job,
    }


def _context(api: Any, parent: str | None) -> Any:
    """The context that a ``traceparent`` stands for; None, which means the current one, where there is none."""
    found = None if parent is None else _PARENT.fullmatch(parent)
    if found is None:
        return None
    trace, span, flags = (int(part, 16) for part in found.groups())
    remote = api.SpanContext(trace, span, is_remote=True, trace_flags=api.TraceFlags(flags))
    return api.set_span_in_context(api.NonRecordingSpan(remote))
