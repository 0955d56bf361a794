"""Moments as clients write them in the parameters of a method."""

from __future__ import annotations

from stoker.model.errors import RequestError
from stoker.wire.records import moment


def read_moment(name: str, text: str) -> float:
    """Seconds since the epoch. Raises :class:`RequestError`, which names the parameter, for what is no time."""
    try:
        return moment(text)
    except (ValueError, OverflowError):
        raise RequestError(f"{name}: {text[:60]!r} is not a time like 2026-03-08T02:30:00+00:00") from None
