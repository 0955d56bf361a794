"""From rows to records and back."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from stoker.model.event import Event, EventKind
from stoker.model.job import Claimed, Job, State, Waits
from stoker.store import columns
from stoker.store.sqlite.connection import Row


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
        columns.tags(tags),
        columns.overrides(overrides),
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
        tags=columns.tags(tags),
        key=gate,
        unique=unique,
        progress=columns.progress(progress),
        fault=columns.fault(fault),
        cancel=cancel,
        overrides=columns.overrides(overrides),
        input=input,
        output=output,
    )


def event(id: str, row: Row) -> Event:
    seq, attempt, kind, at, data = cast("tuple[Any, ...]", row)
    return Event(seq, id, attempt, EventKind(kind), at, msgspec.Raw(data))
