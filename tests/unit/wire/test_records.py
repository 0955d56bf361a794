"""A job as the outside sees it: fit to be a line of JSON whatever is stored, and with no secret in it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model.event import Event, EventKind
from stoker.model.job import Job, Overrides, Progress, State, Waits
from stoker.model.outcome import Fault
from stoker.wire import records
from stoker.wire.records import JobRecord, event_record, iso, job_record, moment

NOW = 1_700_000_000.0


def job(**more: Any) -> Job:
    plain: dict[str, Any] = {
        "seq": 1, "id": "a", "command": "app.work", "state": State.NEW, "waits": Waits.SLOT, "priority": 0,
        "created": NOW, "updated": NOW, "run_at": NOW, "expires": None, "started": None, "finished": None,
        "attempt": 0, "fence": 0, "owner": None, "user": None, "tags": (), "key": None, "unique": None,
        "progress": None, "fault": None, "cancel": None, "overrides": Overrides(), "input": b"{}", "output": None,
    }  # fmt: skip
    return Job(**{**plain, **more})


def seen(record: JobRecord) -> Any:
    """What a reader of the line makes of it."""
    return msgspec.json.decode(msgspec.json.encode(record))


def test_a_new_job() -> None:
    found = job_record(job(user="u", tags=("t",), key="app.work:k", expires=NOW + 60), why="no slot is free")
    assert (found.name, found.app, found.command, found.status) == ("app.work", "app", "work", "new")
    assert (found.waits, found.why, found.ended) == ("slot", "no slot is free", False)
    assert (found.created, found.expires) == ("2023-11-14T22:13:20.000+00:00", "2023-11-14T22:14:20.000+00:00")
    assert (found.user, found.tags, found.key, found.result()) == ("u", ("t",), "app.work:k", None)


def test_an_ended_job_waits_for_nothing() -> None:
    fault = Fault("ValueError", "broken", "Traceback …")
    found = job_record(
        job(state=State.FAILED, fault=fault, started=NOW, finished=NOW + 1, attempt=3, progress=Progress(50.0))
    )
    assert (found.ended, found.waits, found.run_at, found.expires) == (True, None, None, None)
    assert (found.error, found.traceback, found.attempt) == ("ValueError: broken", "Traceback …", 3)
    assert found.progress == Progress(50.0)
    assert found.completed_at == iso(NOW + 1)


def test_input_and_output_are_json_within_json() -> None:
    found = job_record(job(state=State.COMPLETED, input=b'{"a":[1]}', output=b'{"b":\n null}'))
    assert seen(found)["input"] == {"a": [1]}
    assert seen(found)["output"] == found.result() == {"b": None}
    assert b"\n" not in msgspec.json.encode(found), "a record is one line"


def test_secret_fields_are_never_shown() -> None:
    found = job_record(job(input=b'{"key":"canary","deep":{"key":1},"x":1}'), secret=("key", "absent"))
    assert seen(found)["input"] == {"key": records.HIDDEN, "deep": {"key": 1}, "x": 1}
    assert b"canary" not in msgspec.json.encode(found)


@pytest.mark.parametrize("input", [b'["canary"]', b'"canary"', b"canary{", b"\xffcanary"])
def test_input_that_is_no_object_is_shown_without_stumbling(input: bytes) -> None:
    assert isinstance(job_record(job(input=input), secret=("key",)), JobRecord)


@given(st.binary(), st.booleans())
def test_d37_whatever_was_written_into_the_store_a_record_is_json(data: bytes, secret: bool) -> None:
    record = job_record(job(input=data, output=data), secret=("key",) if secret else ())
    assert b"\n" not in msgspec.json.encode(record)
    assert seen(record)["id"] == "a"


@given(st.floats(0, allow_infinity=True))
def test_any_moment_can_be_shown(at: float) -> None:
    """A job put off for a million years is one odd job, not the end of every list."""
    text = iso(at)
    assert text is not None
    assert moment(text) == pytest.approx(min(at, records.LAST), abs=0.001)


def test_no_moment_is_none() -> None:
    assert iso(None) is None
    assert seen(job_record(job(run_at=math.inf)))["run_at"].startswith("9999")


def test_an_event() -> None:
    found = event_record(Event(5, "a", 2, EventKind.LOG, NOW, msgspec.Raw(b'{"message":"m"}')))
    assert (found.offset, found.job, found.attempt, found.kind) == (5, "a", 2, "log")
    assert found.value() == {"message": "m"}


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (b'{"success": false}', True), (b'{"success":true}', False), (b'{"success":0}', False),
        (b'{"a":{"success":false}}', False), (b'["success", false]', False), (b'"success"', False),
        (b'{"success', False),
    ],
)  # fmt: skip
def test_a_completed_job_may_say_that_it_did_not_go_well(output: bytes, said: bool) -> None:
    assert job_record(job(state=State.COMPLETED, output=output)).unwell is said
    assert not job_record(job(state=State.FAILED, output=output)).unwell


def test_outside_nothing_is_told_of_the_inside() -> None:
    found = job_record(job(state=State.FAILED, fault=Fault("E", "m", "canary")), node="canary", pid=4711)
    assert (found.node, found.pid) == ("canary", 4711)
    assert b"canary" not in msgspec.json.encode(records.outside(found))
    line = event_record(Event(1, "a", 1, EventKind.LOG, NOW, msgspec.Raw(b'{"message":"m","traceback":"canary"}')))
    assert records.event_outside(line).value() == {"message": "m"}
    other = event_record(Event(1, "a", 1, EventKind.CHUNK, NOW, msgspec.Raw(b'{"traceback":"mine"}')))
    assert records.event_outside(other) == other
