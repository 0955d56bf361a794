"""Direct dispatch: handed to a live worker, buffers moved both ways, the same function inline when none lives."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stoker import Buffer, Dispatched, Dispatcher, InvalidInput
from stoker.client import inline
from stoker.client.dispatch import errand
from stoker.model.command import FALLBACKS
from stoker.model.errors import (
    BufferMoved,
    DispatchTimeout,
    HandlerFailed,
    InvalidBuffer,
    NoWorker,
    UnknownCommand,
    WorkerLost,
)
from tests.apps import moved
from tests.daemon import LOADED, Daemon, alive, until
from tests.story.conftest import Make

PRODUCTS = ("images", "threads", "tasks")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("moved", kill_grace=0.3) as daemon:
        yield daemon


@contextlib.contextmanager
def dispatcher(daemon: Daemon) -> Iterator[Dispatcher]:
    made = Dispatcher(settings=daemon.settings)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def to(daemon: Daemon) -> Iterator[Dispatcher]:
    """Dispatches to the daemon whose workers are all there."""
    with dispatcher(daemon) as made:
        until(lambda: all(made.has_worker(product) for product in PRODUCTS), what="live workers")
        until(lambda: len(daemon.pids("resident process images")) == 2, what="two workers")
        yield made


def workers(daemon: Daemon, product: str) -> set[int]:
    return {one.pid for one in daemon.processes("resident") if f" {product} " in f"{one.title} "}


# ── the way there and back ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_does_it_and_says_so(daemon: Daemon, to: Dispatcher) -> None:
    """P29, P39: awaitable and plain; the answer tells the path."""
    found = to.call(moved.who, detailed=True)
    assert found == Dispatched(found.worker, "worker", found.worker)
    assert found.worker in workers(daemon, "images")
    assert to.dispatch("images", "who") in workers(daemon, "images")
    assert asyncio.run(awaited(to, "images", "who")) in workers(daemon, "images")


async def awaited(to: Dispatcher, *args: Any, **options: Any) -> Any:
    try:
        return await to.dispatch_to_worker(*args, **options)
    finally:
        await to.aclose()


def test_a_buffer_goes_there_and_comes_back(daemon: Daemon, to: Dispatcher) -> None:
    """P32, P33, X21: moved both ways, in a typed result; void here from then on."""
    buffer = Buffer.of(b"\x00\x01\xff")
    found = to.call(moved.invert, buffer, width=5)
    assert (bytes(found.pixels), found.width) == (b"\xff\xfe\x00", 5)
    assert found.pid in workers(daemon, "images")
    with pytest.raises(BufferMoved):
        buffer.view()


@pytest.mark.parametrize("command", [moved.back, moved.returns, moved.invert], ids=["thread", "async", "process"])
@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_each_kind_of_worker_moves_them(to: Dispatcher, command: Any, size: int) -> None:
    if command is moved.returns and size < 2:
        size += 2
    found = to.call(command, Buffer(size), detailed=True)
    back = found.value.pixels if command is moved.invert else found.value
    assert (found.by, len(back)) == ("worker", size)


def test_several_come_back_at_once(to: Dispatcher) -> None:
    found = to.dispatch("images", "make", {"size": 10, "count": 16})
    assert [bytes(one) for one in found] == [bytes([number]) * 10 for number in range(16)]


def test_what_no_type_declares_is_found_by_its_mark(to: Dispatcher) -> None:
    buffer = Buffer(7)
    found = to.dispatch("images", "whatever", {"data": {"deep": [{"here": buffer}]}}, [buffer])
    assert (found["size"], len(found["back"][0])) == (7, 7)


def test_a_program_without_the_code_dispatches_by_name(daemon: Daemon) -> None:
    """What comes back is plain values, with Buffers in them. (A process of its own: here the code is imported.)"""
    code = """
from stoker import Buffer, dispatch, has_worker
buffer = Buffer.of(b"abc")
found = dispatch("images", "invert", {"pixels": buffer, "width": 2}, [buffer], fallback="error")
print(has_worker("images"), found["width"], bytes(found["pixels"]))
try:
    dispatch("alone", "by_fork", {"pixels": Buffer(1)}, [])
except Exception as error:
    print(error)
try:
    dispatch("alone", "by_fork", {})
except Exception as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=daemon.folder, env=daemon.environ, capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
    assert said[0] == f"True 2 {bytes([158, 157, 156])!r}"
    assert "transfer=[…] does not name" in said[1]
    assert "nor can it run inline: this program has not imported its code" in said[2]


def test_a_file_written_by_the_worker_is_what_the_caller_reads(daemon: Daemon, to: Dispatcher) -> None:
    """P38."""
    path = daemon.file("thumb.bin")
    data = os.urandom(50_000)
    assert to.call(moved.writes_file, str(path), Buffer.of(data)) == str(path)
    assert path.read_bytes() == data


def test_both_paths_come_to_the_same(to: Dispatcher) -> None:
    """P37: byte for byte."""
    data = os.urandom(10_000)
    with_worker = to.call(moved.digest, Buffer.of(data), detailed=True)
    nowhere = Dispatcher("/nowhere/stoker.sock")
    without = nowhere.call(moved.digest, Buffer.of(data), detailed=True)
    assert (with_worker.by, without.by) == ("worker", "inline")
    assert with_worker.value == without.value == hashlib.sha256(data).hexdigest()
    assert nowhere.counts == {"inline": 1}


def test_answers_come_in_any_order(daemon: Daemon, to: Dispatcher) -> None:
    """P24: the fast one first, each to its caller; on one connection."""

    async def both() -> None:
        slow = asyncio.create_task(to.acall(moved.waits, "order"))
        await asyncio.to_thread(daemon.wait_here, "order")
        fast = await to.acall(moved.who)
        assert not slow.done()
        daemon.open_gate("order")
        assert await slow != fast
        found = await asyncio.gather(*(to.acall(moved.invert, Buffer(2), width=number) for number in range(50)))
        assert [one.width for one in found] == list(range(50))
        await to.aclose()

    asyncio.run(both())


def test_many_threads_share_a_dispatcher(to: Dispatcher) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: to.call(moved.invert, Buffer(3), width=number).width, range(100)))
    assert found == list(range(100))


def test_more_than_there_is_room_for_waits(daemon: Daemon, to: Dispatcher) -> None:
    """Five in threads of which four run at a time; nothing runs inline for that."""

    async def five() -> list[Any]:
        jobs = [asyncio.create_task(to.acall(moved.in_thread, Buffer(1), gate="room", detailed=True)) for _ in range(5)]
        await asyncio.to_thread(daemon.wait_here, "room", 4)
        daemon.open_gate("room")
        found = await asyncio.gather(*jobs)
        await to.aclose()
        return found

    found = asyncio.run(five())
    assert [one.by for one in found] == ["worker"] * 5
    assert len({one.value[2] for one in found}) <= 4


def test_a_dispatch_comes_before_jobs_that_are_stored(daemon: Daemon, to: Dispatcher) -> None:
    """The pool is full, and jobs wait for it; whoever waits for an answer gets the next worker."""
    running = [daemon.client.submit("images.waits", {"gate": "full"}) for _ in range(2)]
    daemon.wait_here("full", 2)
    stored = [daemon.client.submit("images.waits", {"gate": "later"}) for _ in range(4)]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(to.call, moved.who, detailed=True)
        until(lambda: pong(daemon, "images")["waiting"] == 1, what="the dispatch to wait")
        daemon.open_gate("full")
        assert answer.result(20).by == "worker"
    daemon.open_gate("later")
    for job in (*running, *stored):
        assert job.wait(20).status == "completed"


# ── what goes wrong on the way ───────────────────────────────────────────────────────────────────────────────────────


def test_a_failing_handler_is_no_reason_to_fall_back(daemon: Daemon, to: Dispatcher) -> None:
    """P23, P30: its message word for word, and the worker lives on."""
    before = workers(daemon, "images")
    with pytest.raises(HandlerFailed) as raised:
        to.call(moved.fails, "just so")
    assert (str(raised.value), raised.value.kind) == ("just so", "ValueError")
    with pytest.raises(HandlerFailed, match=r"\Ajust so\Z"):
        asyncio.run(awaited(to, "images", "fails", {"message": "just so"}))
    assert workers(daemon, "images") == before
    with pytest.raises(HandlerFailed, match=r"\Ax\Z") as inline:
        Dispatcher("/nowhere/stoker.sock").call(moved.fails)
    assert isinstance(inline.value.__cause__, ValueError)


def test_input_is_checked_before_anything_moves(to: Dispatcher) -> None:
    buffer = Buffer(1)
    with pytest.raises(InvalidInput, match="width: Expected `int`"):
        to.call(moved.invert, buffer, width="wide")
    with pytest.raises(InvalidInput, match="fallback: 'never' is none of inline, wait, error"):
        to.call(moved.invert, buffer, fallback="never")
    with pytest.raises(InvalidInput, match="timeout: must be more than 0"):
        to.call(moved.invert, buffer, timeout=0)
    assert len(buffer) == 1
    assert FALLBACKS == ("inline", "wait", "error")


def test_an_action_that_does_not_exist_is_named(to: Dispatcher) -> None:
    """P26."""
    for product in ("images", moved.images):
        with pytest.raises(UnknownCommand, match="'sharpen'"):
            to.dispatch(product, "sharpen")
    with pytest.raises(UnknownCommand, match="'sharpen'"):
        moved.images.dispatch("sharpen")


def test_what_is_moved_is_what_was_named(to: Dispatcher) -> None:
    one, two = Buffer(1), Buffer(2)
    with pytest.raises(InvalidBuffer, match=r"that transfer=.* does not name"):
        to.dispatch("images", "size", {"pixels": one})
    with pytest.raises(InvalidBuffer, match="names a Buffer that is not in the payload"):
        to.dispatch("images", "size", {"pixels": one}, [one, two])
    with pytest.raises(InvalidBuffer, match="takes Buffers, not bytes"):
        to.dispatch("images", "size", {"pixels": one}, [b"x"])  # type: ignore[list-item]
    assert (len(one), len(two)) == (1, 2)
    one.close()
    with pytest.raises(ValueError, match="closed"):
        to.dispatch("images", "size", {"pixels": one}, [one])


def test_a_dispatch_has_its_time(daemon: Daemon, to: Dispatcher) -> None:
    """By its caller's word and by the command's own; the handler is stopped, and the next one gets the worker."""
    begun = time.monotonic()
    with pytest.raises(DispatchTimeout):
        to.call(moved.waits, "never", timeout=0.2)
    with pytest.raises(DispatchTimeout, match="time limit"):
        to.call(moved.forever)
    assert time.monotonic() - begun < 5.0
    until(lambda: pong(daemon, "images")["activeJobs"] == 0, what="the handlers are stopped")
    assert to.call(moved.who, detailed=True).by == "worker"


def test_who_does_not_wait_any_more_has_it_stopped(daemon: Daemon, to: Dispatcher) -> None:
    async def give_up() -> None:
        job = asyncio.create_task(to.acall(moved.waits, "given-up"))
        await asyncio.to_thread(daemon.wait_here, "given-up")
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await asyncio.to_thread(until, lambda: pong(daemon, "images")["activeJobs"] == 0)
        assert (await to.acall(moved.who, detailed=True)).by == "worker"
        await to.aclose()

    asyncio.run(give_up())


def test_its_handler_may_submit_what_is_stored(daemon: Daemon, to: Dispatcher) -> None:
    one, two = to.call(moved.asks), to.call(moved.asks)
    assert one != two
    assert daemon.client.job(one).result(20) in workers(daemon, "images")


# ── without a worker ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_product_without_workers_runs_inline(to: Dispatcher) -> None:
    """P36: and says why. So does a command that wants a process of its own."""
    found = to.call(moved.by_fork, Buffer(1), detailed=True)
    assert (found.value, found.by, found.worker) == (os.getpid(), "inline", None)
    assert found.reason == "no worker of alone lives"
    assert "does not run in the workers" in to.call(moved.apart, detailed=True).reason


def test_the_policy_is_the_commands_or_the_callers() -> None:
    nowhere = Dispatcher("/nowhere/stoker.sock")
    assert nowhere.call(moved.who) == os.getpid()
    with pytest.raises(NoWorker, match=r"images.insists_on_a_worker: no worker of images lives"):
        nowhere.call(moved.insists_on_a_worker)
    assert nowhere.call(moved.insists_on_a_worker, fallback="inline") == os.getpid()
    begun = time.monotonic()
    with pytest.raises(DispatchTimeout):
        nowhere.call(moved.wants_a_worker, timeout=0.3)
    assert 0.25 < time.monotonic() - begun < 0.3 + LOADED


def test_what_nobody_took_is_its_owners_again() -> None:
    buffer = Buffer.of(b"abc")
    with pytest.raises(NoWorker):
        Dispatcher("/nowhere/stoker.sock").call(moved.size, buffer, fallback="error")
    assert bytes(buffer) == b"abc"


def test_who_waits_gets_the_worker_that_comes(make: Make) -> None:
    daemon = make("moved", begin=False)
    with dispatcher(daemon) as to, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(to.call, moved.wants_a_worker, detailed=True)
        daemon.start()
        found = answer.result(30)
        assert (found.by, found.worker in workers(daemon, "images")) == ("worker", True)


def test_the_loop_lives_on_while_it_runs_inline() -> None:
    """In coroutines an inline run goes to a thread; plain dispatch within a loop works, too."""

    async def both() -> tuple[int, int]:
        nowhere = Dispatcher("/nowhere/stoker.sock")
        turns = 0
        job = asyncio.create_task(nowhere.acall(moved.in_task, Buffer(3)))
        while not job.done():
            turns += 1
            await asyncio.sleep(0)
        assert nowhere.call(moved.in_task, Buffer(4)) == [4, os.getpid()]
        return (await job)[0], turns

    size, turns = asyncio.run(both())
    assert size == 3
    assert turns > 1


def test_cpu_work_in_workers_leaves_the_loop_alone(to: Dispatcher) -> None:
    """P1: while four CPU-bound dispatches run, another coroutine is served; p99 below 50 ms."""

    async def measure() -> list[float]:
        jobs = [asyncio.create_task(to.acall(moved.burns, 0.4)) for _ in range(4)]
        late = []
        while not all(job.done() for job in jobs):
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - begun - 0.001)
        assert os.getpid() not in await asyncio.gather(*jobs)
        await to.aclose()
        return sorted(late)

    late = asyncio.run(measure())
    assert late[int(len(late) * 0.99)] < 0.05


# ── has_worker ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_has_worker_is_cheap(to: Dispatcher) -> None:
    """P28: 100,000 looks in half a second; plain, so coroutines ask it as it is (X20)."""
    begun = time.perf_counter()
    assert all(to.has_worker("images") for _ in range(100_000))
    assert time.perf_counter() - begun < 0.5
    assert to.has_worker(moved.threads)
    assert not any(to.has_worker(product) for product in ("alone", "nothing", moved.alone))


def test_has_worker_follows_what_lives(make: Make) -> None:
    """False within a second when the product is disabled, or the daemon is gone; true again when it is back."""
    daemon = make("moved")
    with dispatcher(daemon) as to:
        until(lambda: to.has_worker("threads"))
        daemon.client.ask("pool_set", object, product="threads", options={"enabled": False})
        until(lambda: not to.has_worker("threads"))
        assert to.call(moved.in_thread, Buffer(1), detailed=True).by == "inline"
        daemon.client.ask("pool_set", object, product="threads", options={"enabled": True})
        until(lambda: to.has_worker("threads"))
        assert daemon.stop() == 0
        until(lambda: not to.has_worker("threads"))
        daemon.start()
        until(lambda: to.has_worker("threads"))
        daemon.kill()
        until(lambda: not to.has_worker("threads"))
        assert to.call(moved.who, detailed=True).by == "inline"


@pytest.mark.parametrize("way", ["plain", "awaitable"])
def test_a_daemon_lost_over_it_is_told_from_one_that_took_nothing(make: Make, way: str) -> None:
    """NoWorker says that nobody began, and gives the Buffer back; a worker had this one."""
    daemon = make("moved")
    buffer = Buffer.of(b"given")

    async def awaited(to: Dispatcher) -> Any:
        try:
            return await to.acall(moved.reads_at_gate, buffer, "lost", fallback="error")
        finally:
            await to.aclose()

    with dispatcher(daemon) as to, ThreadPoolExecutor(1) as pool:
        until(lambda: to.has_worker("images"))
        if way == "plain":
            answer = pool.submit(to.call, moved.reads_at_gate, buffer, "lost", fallback="error")
        else:
            answer = pool.submit(asyncio.run, awaited(to))
        daemon.wait_here("lost")
        daemon.kill()
        with pytest.raises(WorkerLost, match="the daemon was lost before it answered"):
            answer.result(20)
        assert buffer.moved
        with pytest.raises(NoWorker):
            to.call(moved.who, fallback="error")


def test_a_stop_lets_a_dispatch_end(make: Make) -> None:
    daemon = make("moved")
    with dispatcher(daemon) as to, ThreadPoolExecutor(1) as pool:
        until(lambda: to.has_worker("images"))
        answer = pool.submit(to.call, moved.waits, "stop", detailed=True)
        (pid,) = daemon.wait_here("stop")
        daemon.send(15)
        until(lambda: not to.has_worker("images"), 5.0)
        assert alive(pid)
        daemon.open_gate("stop")
        assert answer.result(20) == Dispatched(pid, "worker", pid)
        assert daemon.exit_code() == 0


def test_a_reload_lets_a_dispatch_end(make: Make) -> None:
    daemon = make("moved")
    with dispatcher(daemon) as to, ThreadPoolExecutor(1) as pool:
        until(lambda: to.has_worker("images"))
        answer = pool.submit(to.call, moved.waits, "reload", detailed=True)
        (pid,) = daemon.wait_here("reload")
        daemon.client.ask("reload")
        new = to.call(moved.who, detailed=True, fallback="wait")
        assert (new.by, new.value != pid) == ("worker", True)
        daemon.open_gate("reload")
        assert answer.result(20) == Dispatched(pid, "worker", pid)


# ── by hand ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def pong(daemon: Daemon, product: str | None = None) -> dict[str, Any]:
    with daemon.raw() as raw:
        raw.send({"type": "ping"} if product is None else {"type": "ping", "product": product})
        return raw.receive()


def test_a_job_message_by_hand(daemon: Daemon, to: Dispatcher) -> None:
    """P21-P23: exactly these fields."""
    with daemon.raw() as raw:
        raw.send({"type": "job", "product": "images", "action": "who", "jobId": "a1"})
        answer = raw.receive()
        assert answer.pop("result") in workers(daemon, "images")
        assert answer == {"type": "job_result", "jobId": "a1"}
        raw.send({"type": "job", "product": "images", "action": "fails", "jobId": 7})
        assert raw.receive() == {"type": "job_result", "jobId": 7, "error": "x"}
        raw.send({"type": "job", "product": "images", "action": "sharpen", "jobId": 8})
        refused = raw.receive()
        assert (refused["code"], "images.sharpen" in refused["error"]) == ("unknown_command", True)
        raw.send({"type": "job", "product": "images", "action": "who", "jobId": 9, "payload": {"deep": 1}})
        assert raw.receive()["code"] == "invalid_input"
        raw.send(
            {"type": "job", "product": "alone", "action": "by_fork", "jobId": 10, "payload": {"pixels": {"$buffer": 0}}}
        )
        assert raw.receive()["code"] == "no_worker"


def test_the_workers_are_asked_how_busy_they_are(daemon: Daemon, to: Dispatcher) -> None:
    """P40-P42: also while they are; of one product, or of all. A `ping` alone is answered by one as ever."""
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(to.call, moved.in_thread, Buffer(1), gate="ping") for _ in range(3)]
        daemon.wait_here("ping", 3)
        assert pong(daemon, "threads") == {
            "type": "pong",
            "activeJobs": 3,
            "product": "threads",
            "workers": 1,
            "waiting": 0,
        }
        with daemon.raw() as raw:
            raw.send({"type": "ping"})
            assert raw.receive_line() == {"type": "ping"}
            assert raw.receive_line() == {"type": "pong", "activeJobs": 3}
        daemon.open_gate("ping")
        assert [job.result(20)[0] for job in jobs] == [1, 1, 1]
    with ThreadPoolExecutor(4) as pool:
        mixed = [pool.submit(to.call, moved.fails if number % 2 else moved.who) for number in range(100)]
        assert sum(job.exception(20) is not None for job in mixed) == 50
    assert pong(daemon, "images")["activeJobs"] == 0
    assert pong(daemon, "nothing") == {
        "type": "pong",
        "activeJobs": 0,
        "product": "nothing",
        "workers": 0,
        "waiting": 0,
    }


def test_dispatches_are_counted(daemon: Daemon, to: Dispatcher) -> None:
    """P39: by the daemon, and by the caller, who alone knows of those that ran inline."""
    line = 'stoker_dispatched_total{command="threads.back",outcome="done"} '

    def counted() -> int:
        page = daemon.client.ask("metrics", str)
        return int(page.partition(line)[2].partition("\n")[0] or 0)

    before, own = counted(), to.counts["worker"]
    for _ in range(3):
        to.call(moved.back, Buffer(1))
    assert (counted() - before, to.counts["worker"] - own) == (3, 3)


def test_one_id_at_a_time(daemon: Daemon, to: Dispatcher) -> None:
    with daemon.raw() as raw:
        order = {"type": "job", "product": "images", "action": "waits", "jobId": "x", "payload": {"gate": "twice"}}
        raw.send(order)
        daemon.wait_here("twice")
        raw.send(order)
        assert raw.receive()["code"] == "protocol"
        daemon.open_gate("twice")
        assert "result" in raw.receive()


def test_threads_of_a_host_see_workers_come(daemon: Daemon, to: Dispatcher) -> None:
    """One reader of the board for all threads."""
    seen: list[bool] = []

    def look() -> None:
        seen.append(all(to.has_worker("images") for _ in range(2000)))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 8


def test_workers_that_are_only_dispatched_to_are_replaced_when_worn(daemon: Daemon, to: Dispatcher) -> None:
    """``recycle_jobs`` counts dispatches, too: a worn worker gets its successor, and no dispatch waits for ever; nor
    behind workers that had done more already when the limit was set."""
    for _ in range(10):
        to.call(moved.who)
    daemon.client.ask("pool_set", product="images", options={"recycle_jobs": 3})
    try:
        found = [to.call(moved.who, fallback="error", timeout=LOADED + 5) for _ in range(20)]
    finally:
        daemon.client.ask("pool_set", product="images", options={"recycle_jobs": None})
    assert len(set(found)) >= 20 // 3
    assert max(found.count(pid) for pid in found) <= 3


def test_one_buffer_that_two_return_goes_to_one_of_them(to: Dispatcher) -> None:
    """In one turn of the worker's loop; the other is told, and none is left without an answer."""

    async def both() -> list[Any]:
        asked = (to.acall(moved.returns_the_same, 2, fallback="error", timeout=LOADED + 5) for _ in range(2))
        found = await asyncio.gather(*asked, return_exceptions=True)
        await to.aclose()
        return found

    found = asyncio.run(both())
    assert [bytes(one) for one in found if isinstance(one, Buffer)] == [b"same"]
    (failed,) = [one for one in found if not isinstance(one, Buffer)]
    assert isinstance(failed, HandlerFailed)
    assert failed.kind == "BufferMoved"


def test_a_forked_child_dispatches_whatever_threads_held(daemon: Daemon, to: Dispatcher) -> None:
    """Its locks are its own: the thread that held one at the fork is not there to let go of it."""
    with to._board._lock, to._client._lock:
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            try:
                to._board._trusted_until = 0.0
                os._exit(0 if to.has_worker("images") and to.call(moved.who, detailed=True).by == "worker" else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert to.call(moved.who, detailed=True).by == "worker"


def _problems_of(work: Callable[[str], Coroutine[Any, Any, None]], serve: Callable[..., Any] | None) -> list[str]:
    """What a loop complains of while ``work`` is given the address of a server on TCP, or of nobody."""
    problems: list[str] = []

    async def all_of_it() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, about: problems.append(str(about)))
        server = await asyncio.start_server(serve or (lambda *_: None), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        if serve is None:
            server.close()
            await server.wait_closed()
        await work(f"tcp://127.0.0.1:{port}")
        server.close()
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(all_of_it())
    return problems


def test_a_daemon_on_tcp_that_hangs_up_is_no_mishap_of_the_loop() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        await reader.readline()
        writer.close()

    async def work(address: str) -> None:
        with pytest.raises(WorkerLost, match="closed the connection"):
            await Dispatcher(address).acall(moved.who, fallback="error")

    assert _problems_of(work, serve) == []


def test_who_gives_up_while_connecting_leaves_no_error_behind() -> None:
    async def work(address: str) -> None:
        asked = asyncio.create_task(Dispatcher(address).acall(moved.who, fallback="error"))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await asyncio.get_running_loop().shutdown_default_executor()
        for _ in range(3):
            await asyncio.sleep(0)

    assert _problems_of(work, None) == []


def test_an_inline_run_has_its_buffers_whatever_becomes_of_its_caller() -> None:
    """A caller that is cancelled lets go of its descriptors, and their numbers are soon another's."""
    buffer = Buffer.of(b"own")
    made = errand("images", "digest", {"pixels": buffer}, [buffer], "inline", None)
    run = made.inline(inline.perform, NoWorker("none"))
    made.done()
    others = Buffer.of(b"foe")
    assert run().value == hashlib.sha256(b"own").hexdigest()
    others.close()
