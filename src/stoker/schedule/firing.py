"""From an entry and its slot to a job, and from that job back to what it is to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from stoker.model.job import Claimed, OnDuplicate, Unique
from stoker.model.request import Request
from stoker.model.schedule import Entry, Filled, Place, command_of
from stoker.model.schedule_keys import Kind, Overlap
from stoker.model.slot import shown
from stoker.settings import Settings

HERE_FOR = 3600.0
"""Seconds that a job which only one node can run waits for that node."""


class Stored(msgspec.Struct):
    """The input of a job of our own commands, as it is stored: only which entry it is of."""

    schedule: str
    slot: float | None = None


def request(entry: Entry, slot: float | None, settings: Settings, own_timeout: float | None, *, queue: bool) -> Request:
    """The request for a run of ``entry``. ``own_timeout`` is that of its command; ``queue`` lets it wait for earlier
    runs, whatever the entry says about overlapping."""
    node = settings.node if entry.every_node else ""
    who = f"schedule:{entry.name}@{node}" if node else f"schedule:{entry.name}"
    skips = entry.overlap is Overlap.SKIP and not queue
    return Request(
        command=command_of(entry, settings.node, settings.roles.names),
        input=msgspec.Raw(msgspec.json.encode(_input(entry, slot))),
        priority=entry.priority,
        expires=HERE_FOR if node else None,
        tags=(f"schedule:{entry.name}", "manual" if slot is None else f"slot:{shown(slot)}"),
        unique=Unique(who, None, OnDuplicate.EXISTING) if skips else None,
        key=None if skips else who,
        timeout=entry.timeout or (None if own_timeout else settings.schedules.timeout),
        retries=entry.retries,
        memory=entry.memory,
    )


def _input(entry: Entry, slot: float | None) -> Any:
    return entry.input if entry.kind is Kind.JOB else Stored(entry.name, slot)


def filled(job: Claimed, entry: Callable[[str], Entry | None], settings: Settings) -> Claimed:
    """A job of our own commands with what it is to do, from this node's own files, in the place of whatever the store
    says."""
    try:
        stored = msgspec.json.decode(job.input, type=Stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        stored = Stored("")
    found = entry(stored.schedule)
    if found is not None and command_of(found, settings.node, settings.roles.names) != job.command:
        found = None  # it runs something else by now, or is another node's
    own = settings.schedules
    place = Place(
        root=str(settings.root), crons=str(settings.root / own.crons), interpreter=own.interpreter,
        base_url=own.base_url, hosts=own.hosts, as_root=own.as_root,
    )  # fmt: skip
    input = {**msgspec.to_builtins(stored), "filled": None if found is None else Filled(found, place)}
    return msgspec.structs.replace(job, input=msgspec.json.encode(input))
