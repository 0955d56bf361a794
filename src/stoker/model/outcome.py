"""How an attempt ended: a closed set, so that every ending is decided in one place (:mod:`stoker.model.settle`)."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """What went wrong, as text: an exception is never stored as anything that can be run."""

    type: str
    message: str
    traceback: str | None = None

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class Blame(StrEnum):
    """Whose fault a lost attempt was: the job's own process, or the house it lived in."""

    JOB = "job"
    HOUSE = "house"


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The handler returned; ``output`` is its value as JSON."""

    output: bytes


class Retry(msgspec.Struct, frozen=True, tag="retry"):
    """The handler failed in a way that another attempt may mend; ``after`` None means: by the command's back-off."""

    fault: Fault
    after: float | None = None


class Snoozed(msgspec.Struct, frozen=True, tag="snoozed"):
    """The handler asked to be run later; it does not count as an attempt."""

    after: float
    reason: str | None = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Another attempt would not help."""

    fault: Fault


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """Stopped on request, by a client or by the handler itself."""

    reason: str


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """The process went away without saying how it went: a signal, a limit, a vanished daemon."""

    fault: Fault
    blame: Blame = Blame.JOB


class Returned(msgspec.Struct, frozen=True, tag="returned"):
    """Given back unfinished; the attempt is not counted. ``begun`` is whether the handler may have started."""

    reason: str = "the daemon stopped"
    begun: bool = True


Outcome: TypeAlias = Done | Retry | Snoozed | Failed | Cancelled | Lost | Returned
