"""What both drivers keep as JSON text in a column, read and written."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from stoker.model.job import Overrides, Progress
from stoker.model.outcome import Fault

T = TypeVar("T")
NO_OVERRIDES = Overrides()
_overrides = msgspec.json.Decoder(Overrides)
_tags = msgspec.json.Decoder(tuple[str, ...])
_progress: msgspec.json.Decoder[Progress | None] = msgspec.json.Decoder(Progress)
_fault: msgspec.json.Decoder[Fault | None] = msgspec.json.Decoder(Fault)


def pack(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def pack_some(value: Any) -> str | None:
    """NULL for nothing: None, no tags, no overrides."""
    return None if value is None or value in ((), NO_OVERRIDES) else pack(value)


def overrides(text: str | None) -> Overrides:
    return _read(_overrides, text, NO_OVERRIDES)


def tags(text: str | None) -> tuple[str, ...]:
    return _read(_tags, text, ())


def progress(text: str | None) -> Progress | None:
    return _read(_progress, text, None)


def fault(text: str | None) -> Fault | None:
    return _read(_fault, text, None)


def _read(decoder: msgspec.json.Decoder[T], text: str | None, otherwise: T) -> T:
    """What a column holds. A row that somebody wrote by hand, and wrongly, is read without it: it must not keep all
    others from being claimed or listed."""
    if not text:
        return otherwise
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return otherwise
