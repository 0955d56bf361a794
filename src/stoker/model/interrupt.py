"""What a handler may raise to steer its own end, and what may be raised into it."""

from __future__ import annotations

from stoker.model.quantities import seconds


class Retry(Exception):
    """Raise in a handler: try again, after ``after`` seconds or by the command's back-off. Counts as an attempt."""

    def __init__(self, message: str = "retry asked for", *, after: float | str | None = None) -> None:
        super().__init__(message)
        self.after = None if after is None else seconds(after)


class Snooze(Exception):
    """Raise in a handler: run me again after ``after`` seconds; this was not an attempt."""

    def __init__(self, after: float | str, reason: str | None = None) -> None:
        super().__init__(reason or f"snoozed for {after}")
        self.after = seconds(after)
        self.reason = reason


class Cancel(Exception):
    """Raise in a handler: give the job up for good, as cancelled."""

    def __init__(self, reason: str = "cancelled by the handler") -> None:
        super().__init__(reason)


class Interrupted(BaseException):
    """Raised *into* a handler from outside. A BaseException, so that ``except Exception`` does not swallow it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TimeLimitExceeded(Interrupted):
    """The command's time limit is over; clean up now, the process is killed after the grace time."""


class CancelRequested(Interrupted):
    """Somebody cancelled this job; clean up now, the process is killed after the grace time."""


class DaemonGone(Interrupted):
    """The router is gone; nobody can take this job's result any more."""
