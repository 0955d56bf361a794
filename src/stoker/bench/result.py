"""A figure: a value, the floor it is read against, and what was promised."""

from __future__ import annotations

from typing import Any

import msgspec

FAILED = "the bench failed:"
"""How the reason begins where it is no lack of the machine's."""


class Missing(Exception):
    """A figure cannot be measured here; the message says why."""


def last_line(error: BaseException) -> str:
    """What an error says in the end; a log may be before it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


class Result(msgspec.Struct, frozen=True):
    """One figure, in the shape of ``latest.json``. ``value`` is None when it could not be measured; ``settings`` then
    says why under ``missing``."""

    name: str
    value: float | None
    unit: str
    floor: float | None
    ratio: float | None
    settings: dict[str, Any]


class Target(msgspec.Struct, frozen=True):
    """What was promised: bounds of the ratio, or of the value where there is no floor. With neither it is only told."""

    least: float | None = None
    most: float | None = None
    aim: float | None = None

    def __str__(self) -> str:
        if self.least is not None:
            return f"≥ {self.least:g}" + (f" (aim {self.aim:g})" if self.aim is not None else "")
        return "" if self.most is None else f"≤ {self.most:g}"

    def met(self, result: Result) -> bool | None:
        """Whether the promise is kept; None where nothing was promised or nothing measured."""
        judged = result.value if result.floor is None else result.ratio
        if judged is None or (self.least is None and self.most is None):
            return None
        return (self.least is None or judged >= self.least) and (self.most is None or judged <= self.most)


def make(name: str, value: float | None, unit: str, floor: float | None, settings: dict[str, Any]) -> Result:
    """A result with its ratio; numbers keep six digits, more would only pretend."""
    ratio = value / floor if value is not None and floor else None
    return Result(name, _short(value), unit, _short(floor), _short(ratio), settings)


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")
