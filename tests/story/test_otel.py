"""OpenTelemetry: one trace from whoever submits to whatever runs, across processes; nothing where nobody traces."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from stoker.model.errors import RequestError
from tests.daemon import Daemon, until
from tests.story.conftest import Make

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
SUBMIT = """
import sys
sys.path.insert(0, ".")
import traced
from opentelemetry import trace
with trace.get_tracer("web").start_as_current_span("request") as request:
    handler = getattr(traced, sys.argv[1])
    print(handler.dispatch() if "dispatch" in sys.argv else handler.submit().id)
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("traced", kill_grace=0.3) as daemon:
        yield daemon


def submitted(daemon: Daemon, name: str, *how: str) -> str:
    """A job of another program, that traces its own work; the id, or what it returned."""
    command = [sys.executable, "-W", "error", "-c", SUBMIT, name.partition(".")[2], *how]
    done = subprocess.run(
        command, cwd=daemon.folder, env=daemon.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def spans(daemon: Daemon) -> list[dict[str, Any]]:
    """Everything that any process has exported so far."""
    lines = [line for path in daemon.folder.glob("spans.*") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def wait_for(daemon: Daemon, name: str, job: str, count: int = 1) -> list[dict[str, Any]]:
    """The spans of a job by their name, in order."""

    def found() -> list[dict[str, Any]]:
        mine = [
            one for one in spans(daemon) if (one["name"], one["attributes"].get("messaging.message.id")) == (name, job)
        ]
        return sorted(mine, key=lambda one: str(one["start_time"])) if len(mine) >= count else []

    return until(found, what=f"{count} spans {name} of {job}")


def test_one_trace_from_the_request_to_what_its_job_submits(daemon: Daemon) -> None:
    """Submit, run, a span of the handler, and the job that this submits: each the child of the one before."""
    job = submitted(daemon, "traced.outer")
    record = daemon.client.ask("wait", job=job, seconds=30)
    child = record["output"]
    (create,) = wait_for(daemon, "submit traced.outer", job)
    (run,) = wait_for(daemon, "run traced.outer", job)
    (again,) = wait_for(daemon, "submit traced.inner", child)
    (inner,) = wait_for(daemon, "run traced.inner", child)
    everything = spans(daemon)
    (request,) = [one for one in everything if one["context"]["span_id"] == create["parent_id"]]
    (work,) = [one for one in everything if one["context"]["span_id"] == again["parent_id"]]
    assert (request["name"], work["name"]) == ("request", "work")
    assert run["parent_id"] == create["context"]["span_id"]
    assert work["parent_id"] == run["context"]["span_id"]
    assert inner["parent_id"] == again["context"]["span_id"]
    assert {one["context"]["trace_id"] for one in (create, run, work, again, inner)} == {request["context"]["trace_id"]}
    assert daemon.client.ask("wait", job=child, seconds=30)["output"] == request["context"]["trace_id"][2:]
    assert (create["kind"], run["kind"]) == ("SpanKind.PRODUCER", "SpanKind.CONSUMER")
    shared = {"messaging.system": "stoker", "messaging.destination.name": "traced.outer", "messaging.message.id": job}
    submit = {"messaging.operation.name": "submit", "messaging.operation.type": "create"}
    ran = {"messaging.operation.name": "run", "messaging.operation.type": "process", "stoker.attempt": 1}
    assert create["attributes"] == {**shared, **submit}
    assert run["attributes"] == {**shared, **ran}


def test_every_attempt_is_a_span_and_says_what_failed(daemon: Daemon) -> None:
    job = submitted(daemon, "traced.fails")
    first, second = wait_for(daemon, "run traced.fails", job, 2)
    assert first["parent_id"] == second["parent_id"]
    assert (first["attributes"]["stoker.attempt"], second["attributes"]["stoker.attempt"]) == (1, 2)
    for one in (first, second):
        assert one["status"] == {"status_code": "ERROR", "description": "broken"}
        assert one["attributes"]["error.type"] == "ValueError"
        (event,) = one["events"]
        assert event["name"] == "exception"
        assert "raise ValueError" in event["attributes"]["exception.stacktrace"]


@pytest.mark.parametrize("command", ["loops.sees", "threads.looks"])
def test_a_traceparent_may_come_from_anywhere(daemon: Daemon, command: str) -> None:
    """By the plain protocol, from a program in any language; also where many jobs share a process."""
    with daemon.raw() as raw:
        job = raw.call(1, "submit", command=command, trace=PARENT)["data"]["id"]
    assert daemon.client.ask("wait", job=job, seconds=30)["output"] == TRACE
    (run,) = wait_for(daemon, f"run {command}", job)
    assert run["parent_id"] == "0x00f067aa0ba902b7"


def test_what_waits_for_company_is_sent_when_its_worker_ends(make: Make) -> None:
    """A batch that would be sent in an hour is not lost with its process."""
    daemon = make("traced")
    job = submitted(daemon, "warm.works")
    daemon.client.ask("wait", job=job, seconds=30)
    assert len(wait_for(daemon, "run warm.works", job)) == 1
    daemon.client.ask("reload")
    assert len(wait_for(daemon, "run warm.works", job, 2)) == 2, "by both exporters"


def test_a_dispatch_is_traced_too_with_and_without_a_worker(make: Make) -> None:
    daemon = make("traced")
    until(
        lambda: any(one["activeJobs"] == 0 for one in daemon.client.ask("getWorkerPings") if one["product"] == "warm")
    )
    worker = submitted(daemon, "warm.tells", "dispatch")
    (run,) = until(lambda: [one for one in spans(daemon) if one["name"] == "run warm.tells"])
    (create,) = until(lambda: [one for one in spans(daemon) if one["name"] == "submit warm.tells"])
    assert run["parent_id"] == create["context"]["span_id"]
    assert worker == create["context"]["trace_id"][2:]
    daemon.stop()
    inline = submitted(daemon, "warm.tells", "dispatch")
    found = {one["context"]["span_id"]: one for one in spans(daemon)}  # once: the start hook adds an exporter, too
    (alone,) = [
        one for key, one in found.items() if one["name"] == "run warm.tells" and key != run["context"]["span_id"]
    ]
    assert alone["context"]["trace_id"][2:] == inline != worker
    assert found[alone["parent_id"]]["name"] == "request"


def test_where_nobody_traces_there_is_nothing(make: Make) -> None:
    """The API is there and no provider is set: no spans, no trace in the store; but what came along is handed on."""
    daemon = make("traced", begin=False)
    daemon.file("untraced").touch()
    daemon.start()
    plain = daemon.client.submit("traced.inner")
    assert plain.result(30) == "0" * 32
    with daemon.raw() as raw:
        job = raw.call(1, "submit", command="traced.outer", trace=PARENT)["data"]["id"]
    child = daemon.client.ask("wait", job=job, seconds=30)["output"]
    assert daemon.client.ask("wait", job=child, seconds=30)["output"] == TRACE
    assert spans(daemon) == []


@pytest.mark.parametrize(
    "trace", ["", "00", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"ff-{TRACE}-00f067aa0ba902b7-01", PARENT + "x"]
)
def test_what_is_no_traceparent_is_refused(daemon: Daemon, trace: str) -> None:
    with daemon.raw() as raw:
        answer = raw.call(1, "submit", command="traced.inner", trace=trace)
    assert (answer["type"], answer["code"]) == ("error", RequestError.code)
    assert "traceparent" in answer["message"]
