"""From rows to records and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from stoker.model.event import Event, EventKind
from stoker.model.job import Claimed, Job, State, Waits
from stoker.store import columns
from stoker.store.base import Settlement
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


class Ready(msgspec.Struct, array_like=True, frozen=True):
    """A row of ``first_ready``. ``input`` is None when it is large; ``created`` has all its digits."""

    seq: int
    id: str
    command: str
    input: str | None
    attempt: int
    fence: int
    user: str | None
    tags: str | None
    overrides: str | None
    created: str
    gate: str | None
    round: int


_ready = msgspec.json.Decoder(list[Ready])


def ready(text: str) -> list[Ready]:
    return _ready.decode(text)


def claimed_from(row: Ready, large: bytes | None) -> Claimed:
    return Claimed(
        row.seq,
        row.id,
        row.command,
        large if large is not None else (row.input or "").encode(),
        row.attempt,
        row.fence,
        row.user,
        columns.tags(row.tags) if row.tags else (),
        columns.overrides(row.overrides) if row.overrides else columns.NO_OVERRIDES,
        float(row.created),
        row.gate,
        row.round,
    )


def packed(settlements: Sequence[Settlement]) -> str:
    """What ``end_all`` reads."""
    return columns.pack(
        [
            (one.seq, one.fence, end.state, None if end.output is None else end.output.decode(),
             None if end.fault is None else columns.pack(end.fault), end.attempt)
            for one in settlements for end in (one.ending,)
        ]
    )  # fmt: skip


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
