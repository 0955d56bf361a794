"""For scripts that a schedule runs: ``with cron_job(time_limit="10m"):`` around the work.

    from stoker.crons import cron_job

    with cron_job(time_limit=7200) as job:
        connection = connect()
        job.at_close(connection.close)
        ...

It works the same under the daemon, under the system's cron, and by hand. Scripts that come from elsewhere may
stay as they are, line by line: ``cron_initialization(…)`` … ``cron_finished()`` are here as well, with their names also
in camel case.
"""

from __future__ import annotations

import contextlib
from typing import Any

from stoker.model.schedule import TIMEOUT
from stoker.run import cron_checks as _checks
from stoker.run import cron_job as _job
from stoker.run.cron_job import CronJob, cron_job

__all__ = [
    "CronJob",
    "check_in",
    "check_out",
    "close_connections",
    "cron_finished",
    "cron_initialization",
    "cron_job",
    "exit_if_process_running",
    "initialize",
    "is_process_running",
]

_open: list[tuple[contextlib.AbstractContextManager[CronJob], CronJob]] = []


def initialize() -> None:
    """What readied a script elsewhere. Here there is nothing left to ready; it may stay where it stands."""


def cron_initialization(
    time_limit_seconds: float | str | None = TIMEOUT,
    okay_to_perform_on_read_cluster: bool = False,
    exit_if_process_already_running: bool = True,
) -> CronJob:
    """Begin what :func:`cron_job` does, until :func:`cron_finished`."""
    context = cron_job(
        time_limit_seconds,
        exit_if_running=exit_if_process_already_running,
        read_replica=okay_to_perform_on_read_cluster,
    )
    job = context.__enter__()
    _open.append((context, job))
    return job


def cron_finished() -> None:
    """End what :func:`cron_initialization` began: the end is logged, connections are closed."""
    if not _open:
        raise RuntimeError("cron_finished() without cron_initialization()")
    _open.pop()[0].__exit__(None, None, None)


def is_process_running() -> bool:
    """Whether another process runs this script already."""
    return _job.is_running()


def exit_if_process_running() -> None:
    """End with exit code 0 if another process runs this script already."""
    if is_process_running():
        _job.log("CRON_RUNNING", "the same script runs already; this one ends")
        raise SystemExit(0)


def close_connections() -> None:
    """Close what was registered with :meth:`CronJob.at_close`, and the connections of Django."""
    for _, job in _open:
        job.close()


def check_in(monitor_slug: str) -> str:
    """Say that the monitored part begins; the id of the check-in. A run that checks in and never out has failed, and so
    its schedule's monitor sees it; Sentry is told as well, under this name. In a script that a schedule runs as in a
    command; by itself, a script only logs it."""
    return _checks.check_in(monitor_slug)


def check_out(status: str = "ok") -> None:
    """Say how what the last :func:`check_in` began has ended: ``ok``, or ``error``, and then the run has failed. Raises
    RuntimeError without a check-in, ValueError for another status."""
    _checks.check_out(status)


_NAMES: dict[str, Any] = {
    "checkIn": check_in,
    "checkOut": check_out,
    "closeConnections": close_connections,
    "cronFinished": cron_finished,
    "cronInitialization": cron_initialization,
    "exitIfProcessRunning": exit_if_process_running,
    "isProcessRunning": is_process_running,
}


def __getattr__(name: str) -> Any:
    """The names in camel case."""
    if name in _NAMES:
        return _NAMES[name]
    raise AttributeError(f"module 'stoker.crons' has no attribute {name!r}")
