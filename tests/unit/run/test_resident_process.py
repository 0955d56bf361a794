"""A worker of the kind ``process`` on its own: jobs that follow each other without a pause."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker.model.command import Command
from stoker.model.definition import define
from stoker.model.errors import AppError
from stoker.model.outcome import Failed, Fault, Returned
from stoker.run.consumer import POKE
from stoker.run.context import Context
from stoker.run.page import Page, new_file
from stoker.run.preload import Application, Watched
from stoker.run.resident_process import ProcessResident
from stoker.run.warm import Warmth
from stoker.wire.channel import Channel
from stoker.wire.frames import FROM_RUNNER, TO_RUNNER, Ended
from tests.unit.run.bench import assign


@pytest.fixture(autouse=True)
def signal_as_before() -> Iterator[None]:
    before = signal.getsignal(POKE)
    yield
    signal.signal(POKE, before)


def served(application: Application, *runs: int, taken_back: tuple[int, int] | None = None) -> list[Ended]:
    """What becomes of runs that are all there before the first begins; ``taken_back`` as in :meth:`Page.take_back`."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        router, worker = Channel(ours, FROM_RUNNER), Channel(theirs, TO_RUNNER)
        router.send_all([assign(run=run) for run in runs])
        ours.shutdown(socket.SHUT_WR)
        page = Page(new_file())
        if taken_back is not None:
            page.take_back(*taken_back)
        ProcessResident(worker, Watched(application), page, Warmth(), 1000).serve()
        page.close()
        return [found for found in router.waiting() if isinstance(found, Ended)]


def test_broken_source_fails_every_job_however_fast_they_follow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The commands of before are still there; a job must not get them because the one before it has just looked."""

    def broken() -> Any:
        raise AppError("broken")

    application = Application((), tmp_path)
    monkeypatch.setattr(application, "current", broken)
    failed = Failed(Fault("AppError", "broken"))
    assert [found.outcome for found in served(application, 1, 2, 3)] == [failed] * 3


def test_what_is_taken_back_does_not_begin_and_the_rest_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By its place in the order, whatever its own number; but for the one that was at work then, if it begins now."""
    begun: list[int] = []

    def work(ctx: Context) -> None:
        begun.append(ctx._assign.run)

    application = Application((), tmp_path)
    application.commands = {"app.work": Command(work, *define("app", work))}
    monkeypatch.setattr(application, "current", lambda: application.commands)
    runs = (70, 7, 800, 8)
    outcomes = {found.run: found.outcome for found in served(application, *runs, taken_back=(70, 3))}
    assert begun == [70, 8]
    assert {run for run, outcome in outcomes.items() if isinstance(outcome, Returned) and not outcome.begun} == {7, 800}
    assert tuple(outcomes) == runs
