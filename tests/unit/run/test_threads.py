"""Runs as threads of a worker: what is raised into one, at whatever moment, ends that one and nothing else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker import Context
from stoker.model.command import Command
from stoker.model.definition import define
from stoker.model.outcome import Cancelled, Outcome, Retry
from stoker.run.preload import Application, Watched
from stoker.run.resident import Threads
from stoker.run.warm import Warmth
from stoker.wire.channel import Channel
from stoker.wire.frames import FROM_RUNNER, TO_RUNNER, Answer, Ask, Ended, Interrupt
from tests.unit.run.bench import RESULT_MAX, assign

CANCEL = Interrupt(1, "cancel", "enough")


@pytest.fixture
def router() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        yield Channel(ours, FROM_RUNNER), Channel(theirs, TO_RUNNER)


def begun(worker: Channel, handler: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Threads:
    """Threads in which a run of ``handler``, number 1, has begun."""
    application = Application((), folder)
    application.commands = {"app.work": Command(handler, *define("app", handler, name="work"))}
    monkeypatch.setattr(application, "current", lambda: application.commands)
    return Threads(worker, Watched(application), Warmth(), 1, RESULT_MAX)


def outcome(router: Channel) -> Outcome:
    """What the run has come to."""
    found = router.receive()
    assert isinstance(found, Ended)
    return found.outcome


def test_one_that_waits_for_an_answer_stops_at_once(
    router: tuple[Channel, Channel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = router

    def work(ctx: Context) -> None:
        ctx.ask("never")

    threads = begun(theirs, work, tmp_path, monkeypatch)
    threads.hear(assign(run=1))
    assert isinstance(ours.receive(), Ask)
    threads.hear(CANCEL)
    assert outcome(ours) == Cancelled("enough")


def test_a_coroutine_that_waits_stops_at_once(
    router: tuple[Channel, Channel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = router
    waits, cleaned = threading.Event(), threading.Event()

    async def work() -> None:
        waits.set()
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.set()

    threads = begun(theirs, work, tmp_path, monkeypatch)
    threads.hear(assign(run=1))
    assert waits.wait(20)
    threads.hear(CANCEL)
    assert outcome(ours) == Cancelled("enough")
    assert cleaned.is_set()


def test_a_coroutine_that_waits_for_an_answer_stops_at_once(
    router: tuple[Channel, Channel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread in which it asks would be waited for when its loop is closed."""
    ours, theirs = router

    async def work(ctx: Context) -> None:
        await ctx.aask("never")

    threads = begun(theirs, work, tmp_path, monkeypatch)
    threads.hear(assign(run=1))
    assert isinstance(ours.receive(), Ask)
    threads.hear(CANCEL)
    assert outcome(ours) == Cancelled("enough")


def test_one_that_is_cancelled_while_its_error_is_told_ends(
    router: tuple[Channel, Channel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be running for ever: nobody would ever say that it has ended."""
    ours, theirs = router

    class Slow(Exception):
        def __str__(self) -> str:
            threads.hear(CANCEL)
            return "it takes a while to say what was wrong"

    def work() -> None:
        raise Slow

    threads = begun(theirs, work, tmp_path, monkeypatch)
    threads.hear(assign(run=1))
    found = outcome(ours)
    assert isinstance(found, Retry)
    assert found.fault.message == "it takes a while to say what was wrong"


def test_what_comes_when_it_has_just_ended_is_passed_by(
    router: tuple[Channel, Channel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, theirs = router
    threads = begun(theirs, lambda: None, tmp_path, monkeypatch)
    threads.hear(Answer(1, 1, b"null", None))
    threads.hear(CANCEL)
    assert len(threads) == 0
