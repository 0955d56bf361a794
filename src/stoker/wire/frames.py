"""What travels inside the daemon: between router and zygote, and between router and each process that runs jobs.

Frames travel in packets: four bytes of length (little endian) and one MessagePack value, an array of tagged records.
What is said together is one packet, so a hundred jobs cost one encoding and one decoding. Payloads are bytes of JSON
that pass through unread; descriptors travel beside a frame, with its first byte. ``run`` numbers an attempt among
those the router has now; it is what a process with several jobs tells them apart by.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from stoker.model.command import CommandSpec
from stoker.model.outcome import Outcome
from stoker.model.pool import PoolSpec

HEAD = struct.Struct("<I")
DIRECT = 1 << 62
"""Runs from here on are dispatched: they belong to no stored job."""
PACKET_MAX = 80 << 20
"""Bytes of one packet at most; a larger one means the other side is broken."""
PACKET_SOON = 1 << 20
"""Bytes beyond which frames go in several packets, so that the first is read before the last is written."""


# ── router → zygote ──────────────────────────────────────────────────────────────────────────────────────────────────


class Fork(msgspec.Struct, array_like=True, tag="fork", frozen=True):
    """Make a process. Comes with three descriptors: its channel, its stdout, its stderr; for a resident of a pool with
    a fourth, the memory where it writes which run it is at."""

    worker: int
    isolation: str
    slots: int
    product: str = ""


class Kill(msgspec.Struct, array_like=True, tag="kill", frozen=True):
    """Send a signal to a process that is not reaped yet; ``tree`` means everything it started, too."""

    worker: int
    signal: int
    tree: bool


class Leave(msgspec.Struct, array_like=True, tag="leave", frozen=True):
    """End when the last child has ended; fork nothing more."""


# ── zygote → router ──────────────────────────────────────────────────────────────────────────────────────────────────


class Announce(msgspec.Struct, array_like=True, tag="announce", frozen=True):
    """The application is loaded; these are its commands."""

    commands: tuple[CommandSpec, ...]
    seconds: float
    modules: int
    pools: tuple[PoolSpec, ...] = ()


class Refused(msgspec.Struct, array_like=True, tag="refused", frozen=True):
    """The application cannot be loaded, or must not be forked; why."""

    message: str


class Born(msgspec.Struct, array_like=True, tag="born", frozen=True):
    worker: int
    pid: int


class Unborn(msgspec.Struct, array_like=True, tag="unborn", frozen=True):
    """The fork failed; why."""

    worker: int
    message: str


class Died(msgspec.Struct, array_like=True, tag="died", frozen=True):
    """A process was reaped. ``status`` as of waitpid; ``rss`` is its peak in bytes, ``cpu`` its seconds."""

    worker: int
    pid: int
    status: int
    rss: int
    cpu: float


# ── router → a process that runs jobs ────────────────────────────────────────────────────────────────────────────────


class Assign(msgspec.Struct, array_like=True, tag="assign", frozen=True):
    """Run this."""

    run: int
    job: str
    command: str
    input: bytes
    attempt: int
    fence: int
    user: str | None
    tags: tuple[str, ...]
    memory: int | None
    timeout: float | None
    max_output: int
    round: int = 0
    buffers: tuple[int, ...] = ()
    """Sizes of the memory files whose descriptors come with this frame."""
    trace: str | None = None
    """The trace it belongs to, as a W3C ``traceparent``."""
    role_term: int | None = None


class Interrupt(msgspec.Struct, array_like=True, tag="interrupt", frozen=True):
    """Stop this run: raise into the handler. ``kind`` is ``timeout`` or ``cancel``."""

    run: int
    kind: str
    reason: str


class Answer(msgspec.Struct, array_like=True, tag="answer", frozen=True):
    """To an Ask: ``data`` is JSON, or ``code`` says what went wrong and ``data`` is the message as JSON text."""

    run: int
    ask: int
    data: bytes
    code: str | None


class Inspect(msgspec.Struct, array_like=True, tag="inspect", frozen=True):
    """To a resident: say how you are."""


# ── a process that runs jobs → router ────────────────────────────────────────────────────────────────────────────────


class Progressed(msgspec.Struct, array_like=True, tag="progress", frozen=True):
    run: int
    percent: float | None
    message: str | None
    step: str | None


class Said(msgspec.Struct, array_like=True, tag="said", frozen=True):
    """One event of the job, to be kept: ``kind`` is an EventKind, ``data`` is JSON."""

    run: int
    kind: str
    at: float
    data: bytes


class Checked(msgspec.Struct, array_like=True, tag="checked", frozen=True):
    """The job checks in or out of a monitor: ``in_progress``, ``ok`` or ``error``, with the seconds since the check-in
    of this id."""

    run: int
    slug: str
    id: str
    status: str
    seconds: float | None


class Ask(msgspec.Struct, array_like=True, tag="ask", frozen=True):
    """A method of the router, on behalf of a job; ``params`` is JSON."""

    run: int
    ask: int
    method: str
    params: bytes


class Ended(msgspec.Struct, array_like=True, tag="ended", frozen=True):
    """The run is over. ``started`` is when the handler was entered, wall clock; ``buffers`` as in an assignment;
    ``seconds`` is how long it took from there to its value as JSON, None for a run that never began."""

    run: int
    outcome: Outcome
    started: float
    buffers: tuple[int, ...] = ()
    seconds: float | None = None


class Ready(msgspec.Struct, array_like=True, tag="ready", frozen=True):
    """A resident has made its warm state and takes jobs; or why it cannot, and then it ends."""

    pid: int
    problem: str | None = None


class Vitals(msgspec.Struct, array_like=True, tag="vitals", frozen=True):
    """What only a resident itself knows, the answer to an Inspect. ``heap_used`` and ``heap_total`` are bytes;
    ``waited`` of its ``lived`` seconds its loop had nothing to do. None is what it does not know."""

    active: int
    heap_used: int | None
    heap_total: int | None
    lived: float
    waited: float | None


ToZygote: TypeAlias = Fork | Kill | Leave | Assign
FromZygote: TypeAlias = Announce | Refused | Born | Unborn | Died | Ended | Progressed | Said | Checked | Ask
ToRunner: TypeAlias = Assign | Interrupt | Answer | Inspect
FromRunner: TypeAlias = Progressed | Said | Checked | Ask | Ended | Ready | Vitals
Family: TypeAlias = msgspec.msgpack.Decoder[list[Any]]

_encoder = msgspec.msgpack.Encoder()
# made once and shared: making one takes as long as a fork
TO_ZYGOTE: Family = msgspec.msgpack.Decoder(list[ToZygote])
FROM_ZYGOTE: Family = msgspec.msgpack.Decoder(list[FromZygote])
TO_RUNNER: Family = msgspec.msgpack.Decoder(list[ToRunner])
FROM_RUNNER: Family = msgspec.msgpack.Decoder(list[FromRunner])


def encode(some: Sequence[Any]) -> bytes:
    """Frames as they travel: one packet, or a few where they are large."""
    body = _encoder.encode(some)
    if len(body) > PACKET_SOON and len(some) > 1:
        half = len(some) // 2
        return encode(some[:half]) + encode(some[half:])
    return HEAD.pack(len(body)) + body


class Decoder:
    """Cuts a stream into frames of one family of records."""

    def __init__(self, family: Family) -> None:
        self._decoder = family
        self._buffer = bytearray()
        """The beginning of a packet whose end has not come."""
        self._wanted = 0
        """Bytes that it takes to go on."""

    def feed(self, data: bytes | bytearray) -> list[Any]:
        """The complete frames so far. Raises ValueError for bytes that cannot be any."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return []
            data, self._buffer = self._buffer, bytearray()
        self._wanted = HEAD.size
        found: list[Any] = []
        start, size = 0, len(data)
        with memoryview(data) as view:
            while size - start >= HEAD.size:
                (length,) = HEAD.unpack_from(view, start)
                if length > PACKET_MAX:
                    raise ValueError(f"a packet of {length} bytes")
                end = start + HEAD.size + length
                if end > size:
                    self._wanted = end - start
                    break
                found += self._decoder.decode(view[start + HEAD.size : end])
                start = end
            self._buffer += view[start:]
        return found
