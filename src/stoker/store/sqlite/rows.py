"""From rows to records and back."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from stoker.model.event import Event, EventKind
from stoker.model.job import Claimed, Job, Overrides, Progress, State, Waits
from stoker.model.outcome import Fault
from stoker.store.sqlite.connection import Row

_NONE = Overrides()
_overrides = msgspec.json.Decoder(Overrides)
_tags = msgspec.json.Decoder(tuple[str, ...])
_progress = msgspec.json.Decoder(Progress)
_fault = msgspec.json.Decoder(Fault)


def pack(value: Any) -> str:
    return msgspec.json.encode(value).decode()


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
        _tags.decode(tags) if tags else (),
        _overrides.decode(overrides) if overrides else _NONE,
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
        tags=_tags.decode(tags) if tags else (),
        key=gate,
        unique=unique,
        progress=_progress.decode(progress) if progress else None,
        fault=_fault.decode(fault) if fault else None,
        cancel=cancel,
        overrides=_overrides.decode(overrides) if overrides else _NONE,
        input=input,
        output=output,
    )


def event(id: str, row: Row) -> Event:
    seq, attempt, kind, at, data = cast("tuple[Any, ...]", row)
    return Event(seq, id, attempt, EventKind(kind), at, msgspec.Raw(data))
