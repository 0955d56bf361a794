"""How a run that has its process to itself hears what the router announces by a signal."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stoker import Context
from stoker.model.command import Command
from stoker.model.definition import define
from stoker.model.errors import StokerError
from stoker.model.interrupt import CancelRequested
from stoker.model.outcome import Cancelled, Done, Outcome
from stoker.run.consumer import POKE, SoloLine
from stoker.run.executor import Run, execute
from stoker.run.page import Page, new_file
from stoker.run.resident_process import RECALL, QueueLine
from stoker.wire.channel import Channel
from stoker.wire.frames import FROM_RUNNER, TO_RUNNER, Answer, Ask, Interrupt
from tests.unit.run.bench import RESULT_MAX, assign, started

CANCEL = Interrupt(1, "cancel", "enough")
Pair = tuple[Channel, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The router's channel and the other end; the signal is taken by nobody before and after."""
    before = signal.signal(POKE, signal.SIG_IGN)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours, FROM_RUNNER), theirs
    signal.signal(POKE, before)


class Crossed(Channel):
    """Something more comes, and is announced, in the moment after everything was read."""

    def __init__(self, sock: socket.socket, router: Channel) -> None:
        super().__init__(sock, TO_RUNNER)
        self._router = router
        self.crosses = False

    def waiting(self) -> list[Any]:
        found = super().waiting()
        if self.crosses:
            self.crosses = False
            announce(self._router)
        return found


class Swift(Channel):
    """The answer is there, and something else is announced, before the question is quite sent."""

    def __init__(self, sock: socket.socket, router: Channel) -> None:
        super().__init__(sock, TO_RUNNER)
        self._router = router

    def send(self, frame: Any, fds: Sequence[int] = ()) -> None:
        super().send(frame, fds)
        if isinstance(frame, Ask):
            self._router.send(Answer(frame.run, frame.ask, b"7", None))
            self._router.send(Interrupt(99, RECALL, ""))
            signal.raise_signal(POKE)


class Announced:
    """A lock that says when somebody waits for it."""

    def __init__(self, lock: Any, waited_for: threading.Event) -> None:
        self._lock = lock
        self._waited_for = waited_for

    def __enter__(self) -> None:
        self._waited_for.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def announce(router: Channel) -> None:
    """The router wants the run to stop, and says so."""
    router.send(CANCEL)
    signal.raise_signal(POKE)


def ended(pair: Pair, make: Callable[[Channel], Callable[..., Any]]) -> Outcome | None:
    """What becomes of a handler that hears of its cancel through the line of a process; ``make`` gets the router."""
    router, theirs = pair
    handler = make(router)
    line = SoloLine(Channel(theirs, TO_RUNNER))
    router.send(assign(run=1))
    taken = line.take()
    assert taken is not None
    signal.signal(POKE, line.poked)
    run = Run(taken, line, RESULT_MAX)
    execute(run, lambda: {"app.work": Command(handler, *define("app", handler, name="work"))}, lambda: line.enter(run))
    return run.outcome


def test_what_is_announced_while_another_announcement_is_looked_at_is_heard(pair: Pair) -> None:
    router, theirs = pair
    channel = Crossed(theirs, router)
    line = SoloLine(channel)
    router.send(assign(run=1))
    line.take()
    line.enter(started(lambda: None)[0])
    channel.crosses = True
    signal.signal(POKE, line.poked)
    with pytest.raises(CancelRequested, match="enough"):
        signal.raise_signal(POKE)


def test_what_was_announced_before_the_process_could_listen_is_heard(pair: Pair) -> None:
    """A job cancelled while its process is made: the signal came too soon, the word of it is there."""
    router, theirs = pair
    line = SoloLine(Channel(theirs, TO_RUNNER))
    router.send(assign(run=1))
    announce(router)
    line.take()
    with pytest.raises(CancelRequested, match="enough"):
        line.enter(started(lambda: None)[0])


def test_what_is_announced_between_the_queue_and_the_handler_is_heard(pair: Pair) -> None:
    """In a worker: the job is not in the queue any more, and its handler not begun."""
    router, theirs = pair
    page = Page(new_file())
    line = QueueLine(Channel(theirs, TO_RUNNER), page, lambda: None)
    signal.signal(POKE, line.poked)
    router.send(assign(run=1))
    assert line.next() is not None
    announce(router)
    with pytest.raises(CancelRequested, match="enough"):
        line.enter(started(lambda: None)[0])
    page.close()


def test_an_answer_that_comes_with_something_else_that_is_announced_is_heard(pair: Pair) -> None:
    """In a worker: a job behind this one is asked back at the moment when this one asks."""
    router, theirs = pair
    page = Page(new_file())
    line = QueueLine(Swift(theirs, router), page, lambda: None)
    router.send(assign(run=1))
    assert line.next() is not None
    signal.signal(POKE, line.poked)
    late = threading.Timer(20, theirs.shutdown, (socket.SHUT_RDWR,))
    late.start()
    assert line.ask("lucky", b"{}") == b"7"
    late.cancel()
    page.close()


def test_threads_of_a_handler_may_ask_at_the_same_time(pair: Pair) -> None:
    router, theirs = pair
    line = SoloLine(Channel(theirs, TO_RUNNER))
    router.send(assign(run=1))
    line.take()

    def answer() -> None:
        while isinstance(asked := router.receive(), Ask):
            router.send(Answer(1, asked.ask, asked.params, None))

    answering = threading.Thread(target=answer)
    answering.start()
    words = [str(number).encode() for number in range(400)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda word: line.ask("echo", word), words))
    theirs.shutdown(socket.SHUT_RDWR)
    answering.join()
    assert found == words


def test_a_thread_that_a_job_leaves_behind_reads_nothing_of_the_next(pair: Pair) -> None:
    """In a worker: it waits for an answer that never comes, and would take the next job's frames for itself."""
    router, theirs = pair
    page = Page(new_file())
    line = QueueLine(Channel(theirs, TO_RUNNER), page, lambda: None)
    router.send(assign(run=1))
    assert line.next() is not None
    with ThreadPoolExecutor(1) as threads:
        left = threads.submit(line.ask, "wait", b"{}")
        assert isinstance(router.receive(), Ask)
        line.over()
        router.send(assign(run=2))
        found = line.next()
        assert found is not None
        assert found.run == 2
        with pytest.raises(StokerError, match="ended"):
            left.result()
    page.close()


def test_a_thread_that_a_job_leaves_behind_does_not_ask_any_more_when_its_turn_comes(pair: Pair) -> None:
    """In a worker: it would wait for ever, and the worker for its turn."""
    router, theirs = pair
    page = Page(new_file())
    line = QueueLine(Channel(theirs, TO_RUNNER), page, lambda: None)
    router.send(assign(run=1))
    assert line.next() is not None
    begun = threading.Event()

    def second() -> bytes:
        line._turn = Announced(line._turn, begun)  # type: ignore[assignment]
        return line.ask("wait", b"{}")

    with ThreadPoolExecutor(3) as threads:
        left = [threads.submit(line.ask, "wait", b"{}")]
        assert isinstance(router.receive(), Ask)
        left.append(threads.submit(second))
        assert begun.wait(20)
        line.over()
        router.send(assign(run=2))
        try:
            found = threads.submit(line.next).result(20)
        finally:
            theirs.shutdown(socket.SHUT_RDWR)
        assert found is not None
        assert found.run == 2
        for one in left:
            with pytest.raises(StokerError, match="ended"):
                one.result()
    page.close()


def test_clean_ups_are_all_run_when_the_cancel_comes_in_the_middle_of_them(pair: Pair) -> None:
    cleaned = []

    def make(router: Channel) -> Callable[..., Any]:
        def second() -> None:
            announce(router)
            cleaned.append("second")

        def work(ctx: Context) -> int:
            ctx.cleanup(lambda: cleaned.append("first"))
            ctx.cleanup(second)
            return 1

        return work

    assert ended(pair, make) == Done(b"1")
    assert cleaned == ["second", "first"]


def test_a_coroutine_hears_a_cancel_that_comes_in_its_loops_own_code(pair: Pair) -> None:
    """What is raised there is logged by the loop and forgotten."""

    def make(router: Channel) -> Callable[..., Any]:
        async def work() -> int:
            asyncio.get_running_loop().call_soon(announce, router)
            await asyncio.sleep(1)
            return 1

        return work

    assert ended(pair, make) == Cancelled("enough")


def test_a_coroutine_hears_a_cancel_that_comes_when_it_is_put_back_into_line(pair: Pair) -> None:
    """What is raised there leaves the task out of the line: it would never be its turn again."""

    def make(router: Channel) -> Callable[..., Any]:
        async def work() -> int:
            loop: Any = asyncio.get_running_loop()
            plain = loop.call_soon

            def call_soon(*args: Any, **options: Any) -> Any:
                loop.call_soon = plain
                announce(router)
                return plain(*args, **options)

            loop.call_later(5, exit)
            loop.call_soon = call_soon
            await asyncio.sleep(0)
            await asyncio.sleep(1)
            return 1

        return work

    assert ended(pair, make) == Cancelled("enough")


@pytest.mark.parametrize("waited_for", [True, False])
def test_a_coroutine_hears_a_cancel_that_comes_in_another_task_of_its_own(pair: Pair, waited_for: bool) -> None:
    def make(router: Channel) -> Callable[..., Any]:
        async def other() -> None:
            announce(router)
            while True:
                pass

        async def work() -> int:
            task = asyncio.create_task(other())
            await (task if waited_for else asyncio.sleep(1))
            return 1

        return work

    assert ended(pair, make) == Cancelled("enough")


def test_a_handler_that_runs_a_loop_itself_hears_a_cancel_in_it(pair: Pair) -> None:
    def make(router: Channel) -> Callable[..., Any]:
        async def wait() -> None:
            asyncio.get_running_loop().call_soon(announce, router)
            await asyncio.sleep(1)

        def work() -> int:
            asyncio.run(wait())
            return 1

        return work

    assert ended(pair, make) == Cancelled("enough")


def test_what_a_handler_returns_after_a_cancel_in_a_loop_of_its_own_counts(pair: Pair) -> None:
    """What its loop runs at its end, to close it, is not cancelled."""

    def make(router: Channel) -> Callable[..., Any]:
        async def wait() -> int:
            try:
                announce(router)
                while True:
                    pass
            except asyncio.CancelledError:
                return 1

        def work() -> int:
            return asyncio.run(wait())

        return work

    assert ended(pair, make) == Done(b"1")


def test_a_coroutine_whose_other_task_is_stopped_cleans_up_undisturbed(pair: Pair) -> None:
    cleaned = []

    def make(router: Channel) -> Callable[..., Any]:
        async def other() -> None:
            announce(router)
            while True:
                pass

        async def work() -> None:
            try:
                await asyncio.create_task(other())
            finally:
                await asyncio.sleep(0.001)
                cleaned.append("all")

        return work

    assert ended(pair, make) == Cancelled("enough")
    assert cleaned == ["all"]
