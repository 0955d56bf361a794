"""From rows to records and back, and times as the model has them: seconds since the epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import msgspec

from stoker.model.event import Event, EventKind
from stoker.model.job import Claimed, Job, State, Waits
from stoker.model.node import Node
from stoker.store import columns

EPOCH = 946_684_800_000_000
"""Microseconds from 1970 to 2000, from where PostgreSQL counts."""
LAST = 253_402_300_799.0
"""The end of the year 9999: what is later is as good as never."""


async def teach(connection: asyncpg.Connection[Any]) -> None:
    """Have a connection take and give times as seconds."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_to_micros, decoder=_from_micros, format="tuple"
    )


def _to_micros(seconds: float) -> tuple[int]:
    return (round(max(-LAST, min(seconds, LAST)) * 1e6) - EPOCH,)


def _from_micros(value: tuple[int]) -> float:
    return (value[0] + EPOCH) / 1e6


def texts(value: Sequence[str | None] | None) -> tuple[str, ...]:
    """An array of texts; somebody's NULL in it is nothing."""
    return tuple(text for text in value if text is not None) if value else ()


def claimed(row: Sequence[Any]) -> Claimed:
    seq, id, command, input, attempt, fence, user, tags, overrides, created, gate, round = row
    return Claimed(
        seq, id, command, input, attempt, fence, user, texts(tags), columns.overrides(overrides), created, gate,
        round,
    )  # fmt: skip


def job(row: asyncpg.Record) -> Job:
    return Job(
        seq=row["seq"],
        id=row["id"],
        command=row["command"],
        state=State(row["state"]),
        waits=Waits(row["waits"]),
        priority=row["priority"],
        created=row["created"],
        updated=row["updated"],
        run_at=row["run_at"],
        expires=row["expires"],
        started=row["started"],
        finished=row["finished"],
        attempt=row["attempt"],
        fence=row["fence"],
        owner=row["owner"],
        user=row["user"],
        tags=texts(row["tags"]),
        key=row["gate"],
        unique=row["unique_key"],
        progress=columns.progress(row["progress"]),
        fault=columns.fault(row["fault"]),
        cancel=row["cancel"],
        overrides=columns.overrides(row["overrides"]),
        input=row["input"],
        output=row["output"],
    )


def event(id: str, row: Sequence[Any]) -> Event:
    seq, attempt, kind, at, data = row
    return Event(seq, id, attempt, EventKind(kind), at, msgspec.Raw(data))


def node(row: Iterable[Any]) -> Node:
    boot, name, host, pid, version, labels, slots, running, started, heartbeat, alive, cordoned = row
    return Node(
        boot=boot,
        name=name,
        host=host,
        pid=pid,
        version=version,
        labels=texts(labels),
        slots=slots,
        running=running,
        started=started,
        heartbeat=heartbeat,
        alive=alive,
        cordoned=cordoned,
    )
