"""A job, told: one line in a list, or everything there is; and what it said while it ran."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import msgspec
from rich.table import Table
from rich.text import Text

from stoker.client.sync import Client
from stoker.entry import show
from stoker.model.quantities import show_seconds
from stoker.wire.records import EventRecord, JobRecord, moment

PAGE = 1000
SHOWN = 4000
"""Characters of an input or a result shown; all of it is in ``--json``."""
LEVELS = {"warning": "yellow", "error": "red", "critical": "bold red", "debug": "dim"}


def events(client: Client, id: str) -> Iterator[EventRecord]:
    """What a job has said so far."""
    after = 0
    while True:
        page = client.ask("events", list[EventRecord], job=id, after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].offset


def listing(records: Sequence[JobRecord]) -> Table:
    """One line a job."""
    return show.table(
        ("id", "command", "status", "age", "took", "user", "news"),
        [
            (
                record.id, record.name, _status(record), show.ago(record.created),
                show.span(record.started, record.completed_at), record.user, _short(record),
            )
            for record in records
        ],
        right=("age", "took"),
        fold=False,
    )  # fmt: skip


def slots(stats: dict[str, Any]) -> Table:
    """Which jobs hold the slots of a daemon, the longest first."""
    rows = []
    for slot in stats["slots"]:
        rows.append(
            (slot["pid"], slot["command"], slot["job"], slot["attempt"], show_seconds(slot["seconds"]), slot["user"],
             progress_words(slot["progress"] or {}))
        )  # fmt: skip
    return show.table(("pid", "command", "job", "try", "for", "user", "progress"), rows, right=("pid", "try", "for"))


def _short(record: JobRecord) -> str:
    """The most telling thing about a job, for one line."""
    if record.error is not None:
        return show.line(record.error, 100)
    if record.status == "running" and record.progress is not None:
        return _progress(record) or ""
    return f"waits for its {record.waits}" if record.waits in ("time", "key") else ""


def whole(record: JobRecord, ended: Sequence[EventRecord]) -> dict[str, Any]:
    """Everything, for programs: the record and its ended attempts."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record))
    found["attempts"] = [{"at": event.at, **event.value()} for event in ended]
    return found


def tell(record: JobRecord, ended: Sequence[EventRecord]) -> None:
    """Everything, for people."""
    head = Text.assemble((record.name, "bold"), "  ", record.id, "  ", _status(record))
    show.say(head)
    show.say(
        show.pairs(
            [
                ("waits" if record.status == "new" else "worker", record.why),
                ("created", _moment(record.created)),
                ("due", show.local(record.run_at) if record.waits == "time" else None),
                ("expires", show.local(record.expires)),
                ("started", _moment(record.started)),
                ("waited", show.span(record.created, record.started)),
                ("ended", _moment(record.completed_at)),
                ("took", show.span(record.started, record.completed_at)),
                ("runs on", _place(record)),
                ("attempt", record.attempt),
                ("priority", record.priority or None),
                ("user", record.user),
                ("tags", ", ".join(record.tags)),
                ("key", record.key),
                ("progress", _progress(record)),
            ]
        )
    )
    if ended:
        show.say("earlier attempts")
        for event in ended:
            show.say(_attempt(event))
    _block("input", record.input)
    if record.status == "completed":
        _block("output", record.output)
    if record.error is not None:
        show.say(Text.assemble(("error ", "bold"), (show.clean(record.error), "red")))
    if record.traceback:
        show.say(show.clean(record.traceback.rstrip()))


def _status(record: JobRecord) -> Text:
    """The state; of a completed job whose output says ``success: false``, that, too."""
    return Text("completed, not well", "yellow") if record.unwell else show.state(record.status)


def _place(record: JobRecord) -> str | None:
    """``web1, pid 4711``."""
    if record.node is None:
        return None
    return record.node if record.pid is None else f"{record.node}, pid {record.pid}"


def _moment(at: str | None) -> str | None:
    return None if at is None else f"{show.local(at)} ({show.ago(at)} ago)"


def _progress(record: JobRecord) -> str | None:
    return None if record.progress is None else progress_words(msgspec.to_builtins(record.progress))


def progress_words(progress: Mapping[str, Any]) -> str:
    """``40 % reading page 3``."""
    percent = progress.get("percent")
    words = [
        "" if percent is None else f"{round(percent, 1):g} %",
        progress.get("message") or progress.get("step") or "",
    ]
    return show.line(" ".join(words), 100)


def _attempt(event: EventRecord) -> Text:
    value = event.value()
    next = value.get("next")
    error = show.line(str(value.get("error") or ""), 200)
    again = "" if next is None else f", again after {max(0.0, next - moment(event.at)):.1f} s"
    return Text(f"  {value.get('attempt')}  {show.local(event.at)}  {value.get('outcome')}{again}  {error}")


def _block(name: str, raw: msgspec.Raw) -> None:
    text = show.layout(raw)
    cut = f"{text[:SHOWN]} … ({len(text) - SHOWN} characters more; --json shows all)" if len(text) > SHOWN else text
    show.say(Text.assemble((f"{name} ", "bold"), cut))


class Teller:
    """Prints what a job says: its standard error to ours, everything else to standard output."""

    def __init__(self, *, raw: bool = False, out: TextIO | None = None) -> None:
        self._raw = raw
        self._out = out
        self._open: TextIO | None = None

    def tell(self, event: EventRecord) -> None:
        value = event.value()
        match event.kind:
            case "stdout":
                self._write(str(value), self._out or sys.stdout)
            case "stderr":
                self._write(str(value), sys.stderr)
            case "chunk":
                self._write(chunk(value), self._out or sys.stdout)
            case "log":
                self._line(*log_line(event))
            case "attempt":
                self._line(
                    f"attempt {value.get('attempt')} ended: {value.get('error') or value.get('outcome')}", "yellow"
                )

    def finish(self) -> None:
        """End the line that is open."""
        if self._open is not None:
            print(file=self._open, flush=True)
            self._open = None

    def _write(self, text: str, stream: TextIO) -> None:
        if self._open not in (None, stream):
            self.finish()
        stream.write(text if self._raw else show.clean(text))
        stream.flush()
        self._open = None if text.endswith("\n") else stream

    def _line(self, text: str, style: str = "") -> None:
        self.finish()
        if self._raw:
            print(text, file=self._out or sys.stdout, flush=True)
        else:
            show.say(Text(show.clean(text), style), err=self._out is sys.stderr)


def chunk(value: Any) -> str:
    """A streamed piece as text: text as it is, anything else as a line of JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode() + "\n"


def log_line(event: EventRecord) -> tuple[str, str]:
    """``12:00:00.123 warning  disk is nearly full  left=3``, and its colour."""
    value = dict(event.value())
    level, message = str(value.pop("level", "info")), str(value.pop("message", ""))
    fields = " ".join(f"{name}={_field(field)}" for name, field in value.items())
    at = (show.local(event.at) or "")[11:23]
    return f"{at} {level:<7}  {message}{'  ' + fields if fields else ''}", LEVELS.get(level, "")


def _field(value: Any) -> str:
    return value if isinstance(value, str) and " " not in value else msgspec.json.encode(value).decode()
