"""Check-ins of a run: it says how far it is, and counts by what it said.

    check_in("sync") ──► in_progress ──► whoever watches; the work; check_out() ──► ok, or error

A run that checked out with ``error``, or that checked in and never out, has failed, however else it ended. So the
monitor of its schedule sees it as it sees everything: by the ending of the run's job.
"""

from __future__ import annotations

import functools
import sys
import time
import uuid
import weakref
from typing import NamedTuple

from stoker.run import cron_job, joblog
from stoker.run.context import Context

STATUSES = ("ok", "error")


class CheckFailed(Exception):
    """A run ended well, but said otherwise, or never said how it ended."""


class _Check(NamedTuple):
    """A check-in that is not checked out."""

    slug: str
    id: str
    begun: float


class _Checks:
    """Those of one run."""

    def __init__(self) -> None:
        self.open: list[_Check] = []
        self.failed = ""


_alone = _Checks()
"""Of a script that runs by itself."""
_of: weakref.WeakKeyDictionary[Context, _Checks] = weakref.WeakKeyDictionary()


def check_in(slug: str) -> str:
    """Say that the monitored part begins; the id of the check-in."""
    if not isinstance(slug, str) or not slug.strip():
        raise ValueError(f"the name of a monitor is needed, not {slug!r:.80}")
    context = joblog.current()
    one = _Check(slug, uuid.uuid4().hex, time.monotonic())
    _mine(context).open.append(one)
    _tell(context, "check_in", one, "in_progress")
    return one.id


def check_out(status: str = "ok") -> None:
    """Say how what the last check-in began has ended."""
    if status not in STATUSES:
        raise ValueError(f"a check-out is {' or '.join(STATUSES)}, not {status!r:.80}")
    context = joblog.current()
    checks = _mine(context)
    if not checks.open:
        raise RuntimeError("check_out() without check_in()")
    one = checks.open.pop()
    if status == "error" and not checks.failed:
        checks.failed = f"it checked out of {one.slug!r} with error"
    _tell(context, "check_out", one, status)


def _mine(context: Context | None) -> _Checks:
    if context is None:
        return _alone
    checks = _of.get(context)
    if checks is None:
        checks = _of[context] = _Checks()
        context.cleanup(functools.partial(_end, context, checks))
    return checks


def _end(context: Context, checks: _Checks) -> None:
    """The run is over. What it raised, if anything, says more than this would."""
    for one in checks.open:
        checks.failed = checks.failed or f"it checked in to {one.slug!r} and never out"
        _tell(context, "check_out", one, "error")
    if checks.failed and sys.exc_info()[1] is None:
        raise CheckFailed(checks.failed)


def _tell(context: Context | None, event: str, one: _Check, status: str) -> None:
    if context is None:
        cron_job.log(event.upper(), status, monitor=one.slug, id=one.id)
        return
    seconds = None if status == "in_progress" else time.monotonic() - one.begun
    context.emit(event, {"monitor": one.slug, "status": status, "id": one.id})
    context.checked(one.slug, one.id, status, seconds)
