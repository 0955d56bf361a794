"""What every script of a schedule does around its work, as one context: see :mod:`stoker.crons`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from stoker.model import quantities
from stoker.model.cron import time_zone
from stoker.model.interrupt import TimeLimitExceeded
from stoker.model.schedule import TIMEOUT
from stoker.run import environ, joblog

KILL_AFTER = 10.0
"""Seconds after which a script that goes on in spite of its time limit is killed."""
_held: dict[str, int] = {}
"""Scripts whose overlap guard this process holds, by their path."""


class CronJob:
    """A run of a script. ``read_replica`` says that its queries may go to a reader."""

    def __init__(self, script: str, read_replica: bool) -> None:
        self.script = script
        self.read_replica = read_replica
        self._exits = contextlib.ExitStack()

    def at_close(self, action: Callable[[], Any]) -> None:
        """Call ``action`` when the run ends, however it ends: ``job.at_close(connection.close)``."""
        self._exits.callback(action)

    def close(self) -> None:
        """Close what was registered, and the connections that Django holds."""
        self._exits.close()
        database = sys.modules.get("django.db")
        if database is not None:
            database.connections.close_all()


@contextlib.contextmanager
def cron_job(
    time_limit: float | str | None = TIMEOUT,
    *,
    exit_if_running: bool = True,
    tz: str | None = None,
    read_replica: bool = False,
) -> Iterator[CronJob]:
    """Around the work of a script:

    * it ends at once, with exit code 0 and a line in the log, when the same script runs already on this machine;
    * :class:`~stoker.TimeLimitExceeded` is raised in it after ``time_limit`` (seconds or "2h"; None for no limit of its
      own), and it is killed when it goes on for ten seconds more;
    * local time is that of ``tz``, or of its entry;
    * start and end are logged, as ``CRON_START`` and ``CRON_FINISHED``; an exception leaves the second out;
    * what :meth:`CronJob.at_close` was given is closed.

    The guard is a lock on the script's own file that ends with the process, whatever ends it. Raises ValueError for a
    time limit or zone that is none.
    """
    limit = None if time_limit is None else quantities.seconds(time_limit)
    if tz is not None:
        time_zone(tz)
    script = os.path.realpath(sys.argv[0]) if sys.argv and sys.argv[0] else ""
    with contextlib.ExitStack() as stack:
        if exit_if_running and not _take(script, stack):
            log("CRON_RUNNING", "the same script runs already; this one ends", script=script)
            raise SystemExit(0)
        stack.enter_context(_in_zone(tz))
        stack.enter_context(environ.private({"STOKER_READ_REPLICA": "1" if read_replica else None}))
        stack.enter_context(_within(limit))
        job = CronJob(script, read_replica)
        begun = time.monotonic()
        log("CRON_START", "started", script=script)
        try:
            yield job
        finally:
            job.close()
        log("CRON_FINISHED", "finished", script=script, seconds=round(time.monotonic() - begun, 3))


def is_running() -> bool:
    """Whether another process runs this script already, under :func:`cron_job`."""
    script = os.path.realpath(sys.argv[0]) if sys.argv and sys.argv[0] else ""
    with contextlib.ExitStack() as stack:
        return not _take(script, stack)


def log(mark: str, message: str, **fields: Any) -> None:
    """A line of the job's log, or of standard error where the script runs by itself."""
    context = joblog.current()
    if context is not None:
        context.log(message, event=mark, **fields)
        return
    at = time.strftime("%Y-%m-%d %H:%M:%S")
    sys.stderr.write(" ".join([at, mark, message, *(f"{name}={value}" for name, value in fields.items())]) + "\n")


def _take(script: str, stack: contextlib.ExitStack) -> bool:
    """Take the guard of a script for as long as the stack is there; False when somebody else has it."""
    if script in _held or not os.path.isfile(script):
        return True
    fd = os.open(script, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return False
    _held[script] = fd
    stack.callback(os.close, fd)
    stack.callback(_held.pop, script)
    return True


@contextlib.contextmanager
def _in_zone(tz: str | None) -> Iterator[None]:
    if tz is None:
        yield
        return
    with environ.private({"TZ": tz}):
        time.tzset()
        yield
    time.tzset()


@contextlib.contextmanager
def _within(limit: float | None) -> Iterator[None]:
    """Raise into this thread when the time is over; kill the process when that does not help."""
    if limit is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    over = TimeLimitExceeded(f"time limit {quantities.show_seconds(limit)} exceeded")
    told = False

    def ring(_signal: int, _frame: Any) -> None:
        nonlocal told
        if told:
            os.kill(os.getpid(), signal.SIGKILL)
        told = True
        raise over

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(limit, 0.001), KILL_AFTER)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
