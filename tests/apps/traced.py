"""An application that traces: every process writes its spans to a file of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult

from stoker import Backoff, Context, Product

traced = Product("traced")
warm = Product("warm", isolation="process", workers=1)
loops = Product("loops", isolation="async", workers=1)
threads = Product("threads", isolation="thread", workers=1)


class Files(SpanExporter):
    """One line of JSON for each span, in the file of the process that ended it."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with open(f"spans.{os.getpid()}", "a") as file:
            file.writelines(f"{span.to_json(indent=None)}\n" for span in spans)
        return SpanExportResult.SUCCESS


def provide() -> TracerProvider:
    """What a program sets up at its start. A thread that sends in batches must not be forked, so none is made here."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Files()))
    trace.set_tracer_provider(provider)
    return provider


if not Path("untraced").exists():
    provide()


@traced.command
def outer(ctx: Context) -> str:
    with trace.get_tracer("app").start_as_current_span("work"):
        return ctx.submit(inner)


@traced.command
def inner() -> str:
    return trace.get_current_span().get_span_context().trace_id.to_bytes(16, "big").hex()


@traced.command(backoff=Backoff(retries=1, base=0.1))
def fails(ctx: Context) -> None:
    raise ValueError("broken")


@warm.resident
def batches() -> None:
    """Of a worker that stays: its own thread, made in it."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.add_span_processor(BatchSpanProcessor(Files(), schedule_delay_millis=3_600_000))


@warm.command
def works() -> None: ...


@warm.command
def tells() -> str:
    return trace.get_current_span().get_span_context().trace_id.to_bytes(16, "big").hex()


@loops.command
async def sees() -> str:
    return trace.get_current_span().get_span_context().trace_id.to_bytes(16, "big").hex()


@threads.command
def looks() -> str:
    return trace.get_current_span().get_span_context().trace_id.to_bytes(16, "big").hex()
