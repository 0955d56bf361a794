"""From rows to records and back."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec

from stoker.model.event import Event, EventKind
from stoker.model.job import Claimed, Job, Overrides, Progress, State, Waits
from stoker.model.outcome import Fault
from stoker.store.sqlite.connection import Row

T = TypeVar("T")
_NONE = Overrides()
_overrides = msgspec.json.Decoder(Overrides)
_tags = msgspec.json.Decoder(tuple[str, ...])
_progress: msgspec.json.Decoder[Progress | None] = msgspec.json.Decoder(Progress)
_fault: msgspec.json.Decoder[Fault | None] = msgspec.json.Decoder(Fault)


def pack(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _read(decoder: msgspec.json.Decoder[T], text: str | None, otherwise: T) -> T:
    """What a column holds. A row that somebody wrote by hand, and wrongly, is read without it: it must not keep all
    others from being claimed or listed."""
    if not text:
        return otherwise
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return otherwise


def tags(text: str | None) -> tuple[str, ...]:
    return _read(_tags, text, ())


def claimed(row: Row) -> Claimed:
    seq, id, command, input, attempt, fence, user, tags, overrides, created, gate, round = cast("tuple[Any, ...]", row)
    return Claimed(
        seq,
        id,
        command,
        input,
        attempt,
        fence,
        user,
        _read(_tags, tags, ()),
        _read(_overrides, overrides, _NONE),
        created,
        gate,
        round,
    )


def job(row: Row) -> Job:
    (
        seq, id, command, state, waits, priority, created, updated, run_at, expires, started, finished, attempt, fence,
        owner, user, tags, gate, unique, progress, fault, cancel, overrides, input, output,
    ) = cast("tuple[Any, ...]", row)  # fmt: skip
    return Job(
        seq=seq,
        id=id,
        command=command,
        state=State(state),
        waits=Waits(waits),
        priority=priority,
        created=created,
        updated=updated,
        run_at=run_at,
        expires=expires,
        started=started,
        finished=finished,
        attempt=attempt,
        fence=fence,
        owner=owner,
        user=user,
        tags=_read(_tags, tags, ()),
        key=gate,
        unique=unique,
        progress=_read(_progress, progress, None),
        fault=_read(_fault, fault, None),
        cancel=cancel,
        overrides=_read(_overrides, overrides, _NONE),
        input=input,
        output=output,
    )


def event(id: str, row: Row) -> Event:
    seq, attempt, kind, at, data = cast("tuple[Any, ...]", row)
    return Event(seq, id, attempt, EventKind(kind), at, msgspec.Raw(data))
