"""What the exit codes mean; the same for every command, and part of what we promise."""

from __future__ import annotations

from stoker.model.errors import (
    AlreadyRunning,
    AppError,
    DaemonError,
    JobError,
    RequestError,
    SettingsError,
    StokerError,
    StoreError,
)

OK = 0
JOB_FAILED = 1
USAGE = 2
NO_DAEMON = 3
APP = 4
STORE = 5
RUNNING = 6
REFUSED = 7
INTERRUPTED = 130
PIPE = 141
"""Whoever read our output went away (what a shell reports for SIGPIPE)."""
AGAIN = 75
"""The router to its supervisor: start me again (EX_TEMPFAIL of sysexits.h)."""

_CODES: tuple[tuple[type[StokerError], int], ...] = (
    (SettingsError, USAGE),
    (AppError, APP),
    (AlreadyRunning, RUNNING),
    (DaemonError, NO_DAEMON),
    (StoreError, STORE),
    (RequestError, REFUSED),
    (JobError, JOB_FAILED),
)


def code(error: StokerError) -> int:
    """The exit code that tells a script what went wrong."""
    return next((number for kind, number in _CODES if isinstance(error, kind)), JOB_FAILED)
