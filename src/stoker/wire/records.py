"""Jobs, events and nodes as the outside sees them: the shape of answers, of ``--json``, of what clients return."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from stoker.model.audience import Address, Message
from stoker.model.event import Event
from stoker.model.job import ENDED, Job, Progress
from stoker.model.node import Node

HIDDEN = "***"


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One job. Times are ISO 8601 in UTC; ``input`` and ``output`` are any JSON; null while there is none. ``unwell``
    says that a completed job's output has ``success: false``. ``node`` is where it runs, and ``pid`` the process, if
    that is one of the node that was asked."""

    id: str
    app: str
    command: str
    status: str
    waits: str | None
    why: str | None
    priority: int
    created: str
    updated: str
    run_at: str | None
    started: str | None
    completed_at: str | None
    expires: str | None
    attempt: int
    user: str | None
    tags: tuple[str, ...]
    key: str | None
    progress: Progress | None
    error: str | None
    traceback: str | None
    input: msgspec.Raw
    output: msgspec.Raw
    unwell: bool = False
    node: str | None = None
    pid: int | None = None

    @property
    def name(self) -> str:
        """The full name, ``app.command``."""
        return f"{self.app}.{self.command}"

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def result(self) -> Any:
        """The output as plain values; None while there is none."""
        return msgspec.json.decode(self.output)


LAST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def iso(at: float | None) -> str | None:
    """A moment in UTC; what lies beyond the calendar is its last day, so that one odd job never hides the others."""
    return None if at is None else datetime.fromtimestamp(min(at, LAST), UTC).isoformat(timespec="milliseconds")


def moment(text: str) -> float:
    """Back from :func:`iso` to seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


class Verdict(msgspec.Struct):
    """What an output may say of itself."""

    success: Any = None


def unwell(job: Job) -> bool:
    """Whether a completed job's output says that it did not go well."""
    if job.state != "completed" or job.output is None or b'"success"' not in job.output:
        return False
    try:
        return msgspec.json.decode(job.output, type=Verdict).success is False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def job_record(
    job: Job, *, secret: tuple[str, ...] = (), why: str | None = None, node: str | None = None, pid: int | None = None
) -> JobRecord:
    """``secret`` names the input's fields that are not shown."""
    new = job.state == "new"
    return JobRecord(
        id=job.id,
        app=job.product,
        command=job.name,
        status=str(job.state),
        waits=str(job.waits) if new else None,
        why=why,
        priority=job.priority,
        created=iso(job.created) or "",
        updated=iso(job.updated) or "",
        run_at=iso(job.run_at) if new else None,
        started=iso(job.started),
        completed_at=iso(job.finished),
        expires=iso(job.expires) if new else None,
        attempt=job.attempt,
        user=job.user,
        tags=job.tags,
        key=job.key,
        progress=job.progress,
        error=None if job.fault is None else str(job.fault),
        traceback=None if job.fault is None else job.fault.traceback,
        input=hide(job.input, secret),
        output=shown(b"null" if job.output is None else job.output),
        unwell=unwell(job),
        node=node,
        pid=pid,
    )


def outside(record: JobRecord) -> JobRecord:
    """The same for somebody who may see the job and not the machine: no places in files, no processes."""
    return msgspec.structs.replace(record, traceback=None, node=None, pid=None)


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One daemon of those that share the store. Times are ISO 8601 in UTC, by the store's clock."""

    name: str
    boot: str
    host: str
    pid: int
    version: str
    labels: tuple[str, ...]
    slots: int
    running: int
    started: str
    heartbeat: str
    alive: bool
    cordoned: bool


def node_record(node: Node) -> NodeRecord:
    return NodeRecord(
        name=node.name,
        boot=node.boot,
        host=node.host,
        pid=node.pid,
        version=node.version,
        labels=node.labels,
        slots=node.slots,
        running=node.running,
        started=iso(node.started) or "",
        heartbeat=iso(node.heartbeat) or "",
        alive=node.alive,
        cordoned=node.cordoned,
    )


def hide(input: bytes, secret: tuple[str, ...]) -> msgspec.Raw:
    """The input with its secret fields masked."""
    raw = shown(input)
    if not secret:
        return raw
    value = msgspec.json.decode(raw)
    if isinstance(value, dict):
        value.update({name: HIDDEN for name in secret if name in value})
    return msgspec.Raw(msgspec.json.encode(value))


def shown(data: bytes) -> msgspec.Raw:
    """Stored JSON, fit to be part of a line. What is none, because somebody wrote into the store by hand, is text."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)  # looks at the syntax, makes nothing
        data.decode()
        return msgspec.Raw(msgspec.json.format(data, indent=-1) if b"\n" in data else data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode(data.decode(errors="replace")))


class EventRecord(msgspec.Struct, frozen=True):
    """One thing a job said; ``offset`` is the cursor to read on from."""

    offset: int
    job: str
    attempt: int
    kind: str
    at: str
    data: msgspec.Raw

    def value(self) -> Any:
        return msgspec.json.decode(self.data)

    def text(self) -> str | None:
        """A log line or a piece of captured output; None for any other kind."""
        if self.kind == "log":
            return str(self.value().get("message", ""))
        return str(self.value()) if self.kind in ("stdout", "stderr") else None


def event_record(event: Event) -> EventRecord:
    return EventRecord(event.seq, event.job, event.attempt, str(event.kind), iso(event.at) or "", event.data)


def event_outside(record: EventRecord) -> EventRecord:
    """The same for somebody who may see the job and not the machine: a log line without its traceback."""
    if record.kind != "log" or b'"traceback"' not in bytes(record.data):
        return record
    value = record.value()
    value.pop("traceback", None)
    return msgspec.structs.replace(record, data=msgspec.Raw(msgspec.json.encode(value)))


class MessageRecord(msgspec.Struct, frozen=True):
    """One event that was pushed; ``offset`` is the cursor to read on from. A pulse has none, and no ``at``."""

    offset: int | None
    event: str
    data: msgspec.Raw
    to: Address
    at: str | None

    def value(self) -> Any:
        return msgspec.json.decode(self.data)


def message_record(message: Message) -> MessageRecord:
    return MessageRecord(message.offset, message.event, message.data, message.to, iso(message.at))


class Delivery(msgspec.Struct, frozen=True):
    """What became of a pushed event: where it stands among all (None for a pulse, which is not kept), and how many tabs
    of this node it was for."""

    offset: int | None
    tabs: int
