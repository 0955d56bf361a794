"""The public protocol: one JSON object a line, UTF-8. Anyone can speak it with ``nc -U``.

    → {"type": "init", "role": "script"}
    ← {"type": "init", "protocol": 1, "boot": "8c1f…", "version": "0.1.0"}
    → {"type": "call", "id": 1, "method": "stats"}
    ← {"type": "return", "id": 1, "data": {…}}
    → {"type": "call", "id": 2, "method": "notebook.search", "params": {"text": "fire"}}
    ← {"type": "error", "id": 2, "code": "invalid_input", "message": "k: Field required"}

    → {"type": "job", "jobId": "a", "product": "images", "action": "resize", "payload": {"width": 640}}
    ← {"type": "job_result", "jobId": "a", "result": {…}}

``init`` comes first and says who; ``call`` names a method, or a command by its full name, and is answered by ``return``
or ``error`` with the same id, in any order; ``event`` comes unasked; ``ping`` says "still here" while an answer takes
long and needs no reply. ``job`` is direct dispatch: handed to a worker that lives, never stored; descriptors of moved
buffers travel beside its line (``SCM_RIGHTS``, sent with its first byte), as many as ``buffers`` has sizes.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from stoker.model.access import Access
from stoker.model.audience import Address
from stoker.model.errors import PayloadTooLarge, ProtocolError, StokerError
from stoker.model.quantities import show_size

PROTOCOL = 1
ROLES = ("script", "web")
LINE_SLACK = 64 << 10
"""Bytes a line may have beyond the largest input: the envelope and the other parameters."""

EMPTY = msgspec.Raw(b"{}")

Offset: TypeAlias = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""A cursor that a client names: as large as any that a store can have, and no larger."""


class Init(msgspec.Struct, tag_field="type", tag="init", omit_defaults=True):
    """Who is there. The daemon answers with its own."""

    role: str = "script"
    name: str | None = None
    token: str | None = None
    protocol: int | None = None
    boot: str | None = None
    version: str | None = None


class Who(msgspec.Struct, frozen=True, omit_defaults=True):
    """For whom the bridge asks: it has authenticated them, and says what they may do."""

    user: str
    session: str = ""
    instance: str = ""
    level: Access = "user"

    @property
    def all(self) -> bool:
        """Whether they see what is others', too."""
        return self.level != "user"


class Call(msgspec.Struct, tag_field="type", tag="call", omit_defaults=True):
    """Do this. ``wait`` matters for commands: False answers with the job's id as soon as it is stored. ``who`` is the
    bridge's to say: what is asked is asked by them."""

    id: int | str
    method: str
    params: msgspec.Raw = EMPTY
    wait: bool | None = None
    who: Who | None = None


class Return(msgspec.Struct, tag_field="type", tag="return"):
    """It is done, and this is the answer."""

    id: int | str
    data: msgspec.Raw


class Error(msgspec.Struct, tag_field="type", tag="error", omit_defaults=True):
    """It was not done, or not well. Without an id: about the line itself."""

    message: str
    code: str
    id: int | str | None = None


class Event(msgspec.Struct, tag_field="type", tag="event", omit_defaults=True):
    """Something happened. ``offset`` is the cursor to subscribe from again. ``to`` is for whom, of what is pushed to
    people, and ``at`` since when."""

    event: str
    data: msgspec.Raw
    topic: str | None = None
    offset: int | None = None
    to: Address | None = None
    at: str | None = None


class Mishap(msgspec.Struct):
    """Why a topic is at its end before its time: the data of its ``end``, which else is null."""

    error: str
    message: str


class Ping(msgspec.Struct, tag_field="type", tag="ping", omit_defaults=True):
    """Still here. With a product, a question to its workers, answered by :class:`Pong`."""

    product: str | None = None


class Pong(msgspec.Struct, tag_field="type", tag="pong", omit_defaults=True, rename="camel"):
    """How many jobs the workers of a product have in hand, and how many dispatches wait for one; of all products, when
    none was named."""

    active_jobs: int
    product: str | None = None
    workers: int | None = None
    waiting: int | None = None


class Dispatch(msgspec.Struct, tag_field="type", tag="job", omit_defaults=True, rename="camel"):
    """Let a worker of the product do this, now. ``buffers`` are the sizes of the memory files sent beside the line.
    ``detailed`` asks for an answer that also tells who did it."""

    job_id: int | str
    product: str
    action: str
    payload: msgspec.Raw = EMPTY
    buffers: tuple[int, ...] = ()
    timeout: float | None = None
    checked: str | None = None
    detailed: bool = False
    trace: str | None = None
    """The trace it belongs to, as a W3C ``traceparent``."""


class Recall(msgspec.Struct, tag_field="type", tag="job_cancel", rename="camel"):
    """Nobody waits for that dispatch any more."""

    job_id: int | str


class JobResult(msgspec.Struct, tag_field="type", tag="job_result", omit_defaults=True, rename="camel"):
    """How a dispatch ended: with ``result``, or with ``error``. Descriptors beside it as ``buffers`` says."""

    job_id: int | str
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    code: str | None = None
    kind: str | None = None
    by: str | None = None
    worker: int | None = None
    buffers: tuple[int, ...] = ()


Message: TypeAlias = Init | Call | Return | Error | Event | Ping | Pong | Dispatch | Recall | JobResult

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """One line, with its end."""
    return _encoder.encode(message) + b"\n"


def decode(line: bytes | bytearray | memoryview) -> Message:
    """Read one line. Raises :class:`ProtocolError` or :class:`PayloadTooLarge` (nested too deep)."""
    try:
        # parts that are passed on unread must be text, too, or the one who reads them stumbles
        str(line, "utf-8")
        return _decoder.decode(line)
    except RecursionError:
        raise PayloadTooLarge("the message is nested too deep") from None
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ProtocolError(f"not a message: {error}") from None


def error(id: int | str | None, problem: StokerError) -> Error:
    return Error(message=problem.message, code=problem.code, id=id)


class Lines:
    """Cuts a stream of bytes into lines no longer than ``limit``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit + LINE_SLACK
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a line has begun that has not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The complete lines so far, without their ends and without empty ones. Raises :class:`PayloadTooLarge`."""
        if not self._buffer and data.endswith(b"\n") and data.count(b"\n") == 1:
            self._check(len(data) - 1)
            return [data[:-1]] if data.strip() else []
        self._buffer += data
        if b"\n" not in data:
            self._check(len(self._buffer))
            return []
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        self._check(max(len(rest), *(len(line) for line in lines)))
        return [bytes(line) for line in lines if line.strip()]

    def _check(self, length: int) -> None:
        if length > self._limit:
            raise PayloadTooLarge(
                f"a line may have {show_size(self._limit)} at most; store what is large somewhere and send its name"
            )
