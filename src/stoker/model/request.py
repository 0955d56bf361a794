"""A request for a job, as clients send it, and how it becomes a submission with the command's own settings."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from stoker.model import ids, tracing
from stoker.model.audience import not_everybody, user_name
from stoker.model.command import CommandSpec
from stoker.model.errors import InvalidInput, PayloadTooLarge, RequestError
from stoker.model.job import Overrides, Submission, Unique, priority
from stoker.model.quantities import show_size

TAGS_MAX = 32
TEXT_MAX = 256
"""Characters of a tag, user, unique or concurrency key at most."""

NUMBERS = ("delay", "at", "expires", "timeout", "retries", "memory")

EMPTY = msgspec.Raw(b"{}")


class Request(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a client asks for. None means: as the command says. ``delay`` and ``expires`` are seconds, ``at`` is
    seconds since the epoch. ``checked`` is the fingerprint of the type the input was already checked against. ``fresh``
    says that ``id`` was made for this request, which is sent for the first time: nobody need look if it was used.
    ``trace`` is the W3C ``traceparent`` that the job belongs to. ``user`` is text; a whole number is taken as such."""

    command: str
    input: msgspec.Raw = EMPTY
    id: str | None = None
    user: str | int | None = None
    priority: int | str | None = None
    delay: float | None = None
    at: float | None = None
    expires: float | None = None
    tags: tuple[str, ...] = ()
    unique: Unique | None = None
    key: str | None = None
    timeout: float | None = None
    retries: int | None = None
    memory: int | None = None
    checked: str | None = None
    fresh: bool = False
    trace: str | None = None

    @property
    def whom(self) -> str | None:
        """The user's id as text. Raises :class:`RequestError` for what cannot be one."""
        return None if self.user is None else user_name(self.user)

    def check_size(self, most: int) -> None:
        """Raises :class:`PayloadTooLarge` for an input of more than ``most`` bytes."""
        if len(self.input) > most:
            raise PayloadTooLarge(
                f"the input has {show_size(len(self.input))}, more than {show_size(most)}; "
                "store it somewhere and send its name"
            )


def resolve(request: Request, spec: CommandSpec | None, now: float) -> Submission:
    """The submission that ``request`` means. Raises :class:`RequestError` for what makes no sense."""
    user = request.whom
    _check(request, user)
    input = bytes(request.input)
    key = request.key if request.key is not None else _key(spec, user, input)
    rank = request.priority if request.priority is not None else (spec.priority if spec else 0)
    try:
        level = priority(rank)
    except ValueError as error:
        raise RequestError(str(error)) from None
    due = request.at if request.at is not None else (now + request.delay if request.delay else None)
    return Submission(
        id=ids.job_id(request.id) if request.id is not None else ids.new_job_id(),
        command=request.command,
        input=input,
        priority=level,
        run_at=due,
        expires=request.expires if request.expires is not None else (spec.expires if spec else None),
        user=user,
        tags=tuple(request.tags),
        unique=request.unique if request.unique is not None else (spec.unique if spec else None),
        key=None if key is None else f"{request.command}:{key}",
        key_limit=spec.key_limit if spec else 1,
        overrides=Overrides(request.timeout, request.retries, request.memory, request.trace, due),
        fresh=request.fresh or request.id is None,
    )


def _check(request: Request, user: str | None) -> None:
    if request.delay is not None and request.at is not None:
        raise RequestError("give either delay or at, not both")
    for name in NUMBERS:
        _check_number(name, getattr(request, name))
    if request.trace is not None and not tracing.is_traceparent(request.trace):
        raise RequestError("trace is a W3C traceparent: 00-<32 hexadecimal digits>-<16 digits>-<2 digits>")
    if len(request.tags) > TAGS_MAX:
        raise RequestError(f"a job may have {TAGS_MAX} tags at most")
    unique = request.unique.key if request.unique else None
    for text in (user, request.key, unique, *request.tags):
        if text is not None and not 0 < len(text) <= TEXT_MAX:
            raise RequestError(f"users, tags and keys have 1 to {TEXT_MAX} characters")
    if user is not None:
        not_everybody(user)


def _check_number(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value < math.inf:
        raise RequestError(f"{name} is a number, 0 or more, not {value}")


def _key(spec: CommandSpec | None, user: str | None, input: bytes) -> str | None:
    """The concurrency key a command declares: ``user``, or a field of the input by its path (``input.source_id``)."""
    if spec is None or spec.key is None:
        return None
    head, _, path = spec.key.partition(".")
    if head == "user":
        return user
    value: Any = msgspec.json.decode(input)
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if value is None or isinstance(value, dict | list):
        return None
    text = str(value)
    if len(text) > TEXT_MAX:
        raise InvalidInput(f"{spec.key}: is longer than the {TEXT_MAX} characters a concurrency key may have")
    return text
