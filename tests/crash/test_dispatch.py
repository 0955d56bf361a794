"""Dispatch when things die, and when what comes over the line is not what it should be: nothing leaks or hangs."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stoker import Buffer, Dispatched, Dispatcher
from stoker.model.errors import DispatchTimeout, NoWorker, WorkerLost
from stoker.wire.memfd import SEALS
from tests.apps import moved
from tests.crash.conftest import Make
from tests.daemon import LOADED, Daemon, RawClient, alive, scaled, until

PAGE = resource.getpagesize()


@pytest.fixture
def daemon(make: Make) -> Daemon:
    return make("moved", kill_grace=0.3)


@pytest.fixture
def to(daemon: Daemon) -> Iterator[Dispatcher]:
    made = Dispatcher(settings=daemon.settings)
    until(lambda: all(made.has_worker(product) for product in ("images", "threads", "tasks")), what="live workers")
    until(lambda: len(images(daemon)) == 2, what="two workers")
    yield made
    made.close()


def images(daemon: Daemon) -> list[int]:
    return daemon.pids("resident process images")


def runs(daemon: Daemon, gate: str) -> list[int]:
    """Who has begun, by pid."""
    path = daemon.file(f"{gate}.runs")
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def open_fds(pid: int | str) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid: int | str) -> int:
    """Bytes of a process's own and shared memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


# ── deaths ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_workers_killed_before(daemon: Daemon, to: Dispatcher) -> None:
    """P35: whoever asks right after gets an answer, and soon by a worker again."""
    before = images(daemon)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert to.call(moved.total, Buffer(3))[0] == 3
    until(lambda: len(images(daemon)) == 2 and not set(before) & set(images(daemon)), what="new workers")
    until(lambda: to.call(moved.total, Buffer(3), detailed=True).by == "worker", 5.0)


def test_a_worker_killed_during(daemon: Daemon, to: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """P35, X21: the same function, once more, here, with the same input, which is still there."""
    monkeypatch.chdir(daemon.folder)
    buffer = Buffer.of(b"still")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(to.call, moved.reads_at_gate, buffer, "during", detailed=True)
        (pid,) = daemon.wait_here("during")
        os.kill(pid, signal.SIGKILL)
        daemon.wait_here("during", 2)
        daemon.open_gate("during")
        found = answer.result(20)
    assert (found.value, found.by) == (["still", os.getpid()], "inline")
    assert "the worker died over it: Killed: signal 9" in str(found.reason)
    assert runs(daemon, "during") == [pid, os.getpid()]
    assert buffer.moved


def test_another_worker_can_still_read_it(daemon: Daemon, to: Dispatcher) -> None:
    """X21: with the policy "wait" it goes to the next one."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(
            to.call, moved.reads_at_gate, Buffer.of(b"still"), "again", fallback="wait", detailed=True
        )  # fmt: skip
        (first,) = daemon.wait_here("again")
        os.kill(first, signal.SIGKILL)
        _, second = daemon.wait_here("again", 2)
        daemon.open_gate("again")
        assert answer.result(20) == Dispatched(["still", second], "worker", second)
    assert first != second


def test_what_kills_its_workers_is_given_up(daemon: Daemon, to: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(daemon.folder)
    with pytest.raises(WorkerLost, match="signal 9"):
        to.call(moved.dies_in_a_worker, os.getpid(), 1, fallback="error")
    assert len(runs(daemon, "dies")) == 1
    with pytest.raises(WorkerLost):
        to.call(moved.dies_in_a_worker, os.getpid(), 1, fallback="wait")
    assert len(runs(daemon, "dies")) == 4
    found = to.call(moved.dies_in_a_worker, os.getpid(), 1, detailed=True, fallback="inline")
    assert (found.value, found.by) == ([2, os.getpid()], "inline")


@pytest.mark.parametrize("way", ["plain", "awaitable"])
def test_the_router_killed_during(daemon: Daemon, to: Dispatcher, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line breaks; the worker ends with its router; the caller runs it."""
    monkeypatch.chdir(daemon.folder)

    async def awaited() -> Any:
        try:
            return await to.acall(moved.reads_at_gate, Buffer.of(b"still"), "router", detailed=True)
        finally:
            await to.aclose()

    with ThreadPoolExecutor(1) as pool:
        if way == "plain":
            answer = pool.submit(to.call, moved.reads_at_gate, Buffer.of(b"still"), "router", detailed=True)
        else:
            answer = pool.submit(asyncio.run, awaited())
        (pid,) = daemon.wait_here("router")
        os.kill(daemon.router, signal.SIGKILL)
        until(lambda: not alive(pid), what="the worker is gone")
        daemon.wait_here("router", 2)
        daemon.open_gate("router")
        found = answer.result(20)
    assert (found.value, found.by) == (["still", os.getpid()], "inline")
    assert "closed the connection" in str(found.reason)
    daemon.wait_ready()
    assert to.call(moved.size, Buffer(7), detailed=True, fallback="wait").by == "worker"


def test_a_daemon_that_was_started_anew_is_found(daemon: Daemon, to: Dispatcher) -> None:
    """The connection that was kept is dead; nothing runs inline for that."""
    assert to.call(moved.who, detailed=True).by == "worker"
    daemon.kill()
    daemon.start()
    until(lambda: to.has_worker("images"))
    assert to.call(moved.who, detailed=True).by == "worker"


@pytest.mark.parametrize("size", [10, 3_000_000], ids=["small", "large"])
@pytest.mark.parametrize("way", ["plain", "awaitable"])
def test_a_stopped_router_costs_the_dispatch_its_time_and_no_more(
    daemon: Daemon, to: Dispatcher, way: str, size: int
) -> None:
    """SIGSTOP: also when it does not even take all of what is sent."""

    async def awaited() -> None:
        try:
            await to.dispatch_to_worker("images", "fails", payload, timeout=0.5, fallback="error")
        finally:
            await to.aclose()

    def ask() -> None:
        if way == "awaitable":
            return asyncio.run(awaited())
        return to.dispatch("images", "fails", payload, timeout=0.5, fallback="error")  # type: ignore[no-any-return]

    router, payload = daemon.router, {"message": "x" * size}
    os.kill(router, signal.SIGSTOP)
    begun = time.monotonic()
    try:
        with pytest.raises(DispatchTimeout):
            ask()
    finally:
        os.kill(router, signal.SIGCONT)
    assert time.monotonic() - begun < 0.5 + 1.0 + LOADED
    assert to.call(moved.who, detailed=True).by == "worker"


def test_a_zygote_killed_during_is_told_as_a_lost_worker(daemon: Daemon, to: Dispatcher) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(to.call, moved.waits, "zygote", fallback="error")
        daemon.wait_here("zygote")
        os.kill(daemon.zygote, signal.SIGKILL)
        with pytest.raises(WorkerLost, match="the zygote died"):
            answer.result(20)
    assert to.call(moved.who, fallback="wait", detailed=True).by == "worker"


def test_a_stopped_worker_costs_the_dispatch_its_time_and_no_more(daemon: Daemon, to: Dispatcher) -> None:
    """SIGSTOP: the limit still holds, and the worker is replaced."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(to.call, moved.waits, "stopped", timeout=1.0, fallback="error")
        (pid,) = daemon.wait_here("stopped")
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DispatchTimeout, match=r"not done within 1\.0 s"):
            answer.result(20)
    until(lambda: not alive(pid), what="the stopped worker is killed")
    assert to.call(moved.who, fallback="wait", detailed=True).by == "worker"


def test_code_that_breaks_under_the_workers_falls_back(daemon: Daemon, to: Dispatcher) -> None:
    """P34: no worker can be made any more; the request is answered."""
    path = daemon.file("moved.py")
    path.write_text(path.read_text() + "raise RuntimeError('broken')\n")
    for pid in images(daemon):
        os.kill(pid, signal.SIGKILL)
    for _ in range(3):
        assert to.call(moved.size, Buffer(5), detailed=True).value == 5
    until(lambda: len(images(daemon)) == 2 and to.has_worker("images"), what="new workers, of old code")
    found = to.call(moved.size, Buffer(5), detailed=True)
    assert (found.value, found.by) == (5, "inline")
    assert "RuntimeError: broken" in str(found.reason)
    with pytest.raises(NoWorker, match="RuntimeError: broken"):
        to.call(moved.size, Buffer(5), fallback="error")


# ── leaks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_left_after_many_moves(daemon: Daemon, to: Dispatcher) -> None:
    """1,000 moves there and back (10,000 at scale 10): descriptors and memory of all three are what they were."""

    def some(count: int) -> None:
        for _ in range(count):
            found = to.call(moved.back, Buffer(1 << 20))
            assert len(found) == 1 << 20

    some(200)
    places: list[int] = [os.getpid(), daemon.router, *daemon.pids("resident thread threads")]
    gc.collect()
    before = [(open_fds(pid), resident(pid)) for pid in places]
    some(scaled(1000))
    gc.collect()
    after = [(open_fds(pid), resident(pid)) for pid in places]
    for (fds, memory), (fds_now, memory_now) in zip(before, after, strict=True):
        assert abs(fds_now - fds) <= 3
        assert memory_now - memory < 8 << 20


def test_nothing_is_left_after_kills(daemon: Daemon, to: Dispatcher) -> None:
    """Buffers on their way to a worker that dies, and on their way back to a caller that is gone."""
    until(lambda: len(images(daemon)) == 2)
    here, router = open_fds("self"), open_fds(daemon.router)
    for number in range(scaled(10)):
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(
                to.call, moved.reads_at_gate, Buffer(1 << 20), f"k{number}", fallback="error"
            )  # fmt: skip
            (pid,) = daemon.wait_here(f"k{number}")
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(WorkerLost):
                answer.result(20)
        with daemon.raw() as raw:
            fd = memfd(10)
            send(raw, order("images", "whatever", {"data": {"deep": [{"here": {"$buffer": 0}}]}}, [10]), [fd])
            os.close(fd)
        until(lambda: len(images(daemon)) == 2, what="the worker is replaced")
    gc.collect()
    until(lambda: abs(open_fds(daemon.router) - router) <= 3, what="the router's descriptors are what they were")
    assert abs(open_fds("self") - here) <= 3


def test_the_router_does_not_grow_with_what_passes(daemon: Daemon, to: Dispatcher) -> None:
    """P32: 256 MB pass; the router maps none of it, and caller and worker together have it once."""
    to.call(moved.total, Buffer(1 << 20))
    size = 256 << 20
    router, own = resident(daemon.router), resident("self")
    buffer = Buffer(size)
    for place in range(0, size, PAGE):
        buffer[place] = 1
    assert resident("self") - own > size // 2
    answer = to.call(moved.total, buffer)
    assert answer[:2] == [size, size // 4096]
    assert resident(daemon.router) - router < 8 << 20
    until(lambda: resident("self") - own < size // 8, what="its pages are not the caller's any more")


def test_a_move_takes_no_longer_for_being_large(to: Dispatcher) -> None:
    """P32: 256 MB are handed over as fast as 5; what the kernel has to unmap, nobody waits for."""

    def takes(size: int) -> list[float]:
        times = []
        for _ in range(5):
            buffer = Buffer(size)
            view = buffer.view()
            view[::4096] = b"x" * len(view[::4096])
            view.release()
            begun = time.perf_counter()
            assert to.call(moved.size, buffer, detailed=True).by == "worker"
            times.append(time.perf_counter() - begun)
        return sorted(times)

    small, large = takes(5 << 20), takes(256 << 20)
    assert large[1] < small[2] + 0.005, (small, large)


# ── what comes over the line ─────────────────────────────────────────────────────────────────────────────────────────


def memfd(size: int, seals: int = SEALS) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def order(product: str, action: str, payload: Any, buffers: list[int], id: int = 1) -> bytes:
    message = {
        "type": "job", "product": product, "action": action, "jobId": id, "payload": payload, "buffers": buffers,
    }  # fmt: skip
    return json.dumps(message).encode() + b"\n"


def send(raw: RawClient, data: bytes, fds: list[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sent = raw.sock.sendmsg([data], rights)
    if sent < len(data):
        raw.sock.sendall(data[sent:])


SIZE = {"pixels": {"$buffer": 0}}
BAD_FDS: dict[str, tuple[Callable[[], int], str]] = {
    "truncated": (lambda: memfd(0), "has 0 bytes, and 100 were announced"),
    "not sealed": (lambda: memfd(100, 0), "not sealed against shrinking"),
    "a file": (lambda: os.open(__file__, os.O_RDONLY), "cannot be sealed"),
    "a device": (lambda: os.open("/dev/zero", os.O_RDWR), "no memory file"),
    "a socket": (lambda: socket.socket(socket.AF_UNIX).detach(), "no memory file"),
}


@pytest.mark.parametrize(("make_fd", "why"), BAD_FDS.values(), ids=BAD_FDS.keys())
def test_a_hostile_descriptor_gets_an_error_and_no_worker(
    daemon: Daemon, to: Dispatcher, make_fd: Callable[[], int], why: str
) -> None:
    before, workers = open_fds(daemon.router), images(daemon)
    with daemon.raw() as raw:
        fd = make_fd()
        send(raw, order("images", "size", SIZE, [100]), [fd])
        os.close(fd)
        answer = raw.receive()
        assert (answer["code"], why in answer["error"]) == ("invalid_buffer", True)
        good = memfd(100)
        send(raw, order("images", "size", SIZE, [100], 2), [good])
        os.close(good)
        assert raw.receive() == {"type": "job_result", "jobId": 2, "result": 100}
    until(lambda: open_fds(daemon.router) <= before)
    assert images(daemon) == workers


def test_one_that_cannot_be_mapped_is_the_senders_mistake(daemon: Daemon, to: Dispatcher) -> None:
    """Sealed against writing: the worker says so, and lives on."""
    workers = images(daemon)
    with daemon.raw() as raw:
        fd = memfd(100, SEALS | fcntl.F_SEAL_WRITE)
        send(raw, order("images", "size", SIZE, [100]), [fd])
        os.close(fd)
        answer = raw.receive()
    assert (answer["code"], "cannot be mapped" in answer["error"]) == ("invalid_buffer", True)
    assert images(daemon) == workers


@contextlib.contextmanager
def unharmed(daemon: Daemon, to: Dispatcher) -> Iterator[RawClient]:
    """A connection to be abused; after it the router has no descriptor more, and works."""
    before = open_fds(daemon.router)
    with daemon.raw() as raw:
        yield raw
    until(lambda: open_fds(daemon.router) <= before, what="the router's descriptors are what they were")
    assert to.call(moved.size, Buffer(3), detailed=True).by == "worker"


def hangs_up(raw: RawClient, code: str) -> None:
    assert raw.receive()["code"] == code
    with pytest.raises((EOFError, ConnectionResetError)):
        raw.receive()


def test_fewer_descriptors_than_announced(daemon: Daemon, to: Dispatcher) -> None:
    with unharmed(daemon, to) as raw:
        send(raw, order("images", "size", SIZE, [100, 100]), [])
        answer = raw.receive()
        assert (answer["code"], answer["jobId"]) == ("protocol", 1)
        assert "2 buffers were announced, and 0 descriptors came" in answer["error"]


def test_descriptors_without_a_message(daemon: Daemon, to: Dispatcher) -> None:
    with unharmed(daemon, to) as raw:
        fd = memfd(100)
        send(raw, b"\n", [fd])
        os.close(fd)
        hangs_up(raw, "protocol")
    with unharmed(daemon, to) as raw:
        fd = memfd(100)
        send(raw, b'{"type": "call", "id": 1, "method": "ping"}\n', [fd])
        os.close(fd)
        hangs_up(raw, "protocol")


def test_too_many_descriptors_at_once(daemon: Daemon, to: Dispatcher) -> None:
    with unharmed(daemon, to) as raw:
        fds = [memfd(1) for _ in range(100)]
        send(raw, order("images", "size", SIZE, [1] * 100), fds)
        for fd in fds:
            os.close(fd)
        hangs_up(raw, "invalid_buffer")


def test_descriptors_that_pile_up_before_a_line_ends(daemon: Daemon, to: Dispatcher) -> None:
    with unharmed(daemon, to) as raw:
        fd = memfd(1)
        with contextlib.suppress(OSError):
            for _ in range(100):
                send(raw, b" ", [fd])
        os.close(fd)
        with contextlib.suppress(ConnectionResetError):
            assert raw.receive()["code"] == "protocol"


def test_a_line_that_never_ends(daemon: Daemon, to: Dispatcher) -> None:
    """Half a message with its descriptor, and then nothing: closed with the connection."""
    with unharmed(daemon, to) as raw:
        fd = memfd(100)
        send(raw, order("images", "size", SIZE, [100])[:30], [fd])
        os.close(fd)


def test_a_message_in_two_pieces_has_its_descriptor(daemon: Daemon, to: Dispatcher) -> None:
    with unharmed(daemon, to) as raw:
        fd, data = memfd(100), order("images", "size", SIZE, [100])
        send(raw, data[:20], [fd])
        os.close(fd)
        raw.send_bytes(data[20:])
        assert raw.receive()["result"] == 100


def test_two_messages_in_one_piece_have_their_own(daemon: Daemon, to: Dispatcher) -> None:
    with unharmed(daemon, to) as raw:
        one, two = memfd(1), memfd(2)
        send(raw, order("images", "size", SIZE, [1], 1) + order("images", "size", SIZE, [2], 2), [one, two])
        os.close(one)
        os.close(two)
        found = {answer["jobId"]: answer["result"] for answer in (raw.receive(), raw.receive())}
        assert found == {1: 1, 2: 2}


BAD_LINES = {
    "no product": b'{"type": "job", "jobId": 1, "action": "who"}',
    "sizes are text": b'{"type": "job", "jobId": 1, "product": "images", "action": "who", "buffers": ["x"]}',
    "sizes are a number": b'{"type": "job", "jobId": 1, "product": "images", "action": "who", "buffers": 7}',
    "truncated": b'{"type": "job", "jobId": 1, "product": "ima',
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_malformed_job_gets_an_error_and_harms_nothing(daemon: Daemon, to: Dispatcher, line: bytes) -> None:
    with unharmed(daemon, to) as raw:
        raw.send_bytes(line + b"\n")
        assert raw.receive()["code"] == "protocol"
        assert raw.call(5, "ping")["data"] == "pong"


def test_nobody_dispatches_before_saying_who_he_is(daemon: Daemon, to: Dispatcher) -> None:
    with daemon.raw(role=None) as raw:
        raw.send_bytes(order("images", "who", {}, []))
        assert raw.receive()["code"] == "protocol"


# ── clients that do not listen ───────────────────────────────────────────────────────────────────────────────────────


def test_one_that_is_found_gone_while_all_are_told_that_nobody_works(daemon: Daemon, to: Dispatcher) -> None:
    """It has two that wait, and the first answer shows that it is gone; whoever comes after it is told all the same."""
    with ThreadPoolExecutor(3) as pool, daemon.raw() as deaf:
        running = [pool.submit(to.call, moved.waits, "deaf", fallback="error") for _ in range(2)]
        daemon.wait_here("deaf", 2)
        for number in range(2):
            deaf.send_bytes(order("images", "who", {}, [], number))
        until(lambda: waiting(daemon) == 2)
        other = pool.submit(to.call, moved.who, fallback="error", timeout=20)
        until(lambda: waiting(daemon) == 3)
        deaf.sock.shutdown(socket.SHUT_RD)
        daemon.client.ask("pool_set", product="images", options={"enabled": False})
        daemon.open_gate("deaf")
        for answer in running:
            answer.result(20)
        with pytest.raises(NoWorker, match="lives any more"):
            other.result(20)
    daemon.client.ask("pool_set", product="images", options={"enabled": True})
    until(lambda: to.has_worker("images"))
    assert to.call(moved.who, detailed=True, fallback="wait").by == "worker"
    assert "Traceback" not in daemon.log()


def waiting(daemon: Daemon) -> int:
    with daemon.raw() as raw:
        raw.send({"type": "ping", "product": "images"})
        return int(raw.receive()["waiting"])


def test_nothing_is_begun_for_one_that_was_found_gone(daemon: Daemon, to: Dispatcher) -> None:
    """The answer to the first line cannot be said any more; the second came with it, and is not done."""
    with daemon.raw() as deaf:
        deaf.sock.shutdown(socket.SHUT_RD)
        daemon.open_gate("gone")
        deaf.send_bytes(order("images", "nothing", {}, []) + order("images", "waits", {"gate": "gone"}, [], 2))
        until(lambda: hung_up(deaf), what="the router has hung up")
    for _ in range(4):
        assert to.call(moved.who, detailed=True).by == "worker"
    assert runs(daemon, "gone") == []


def hung_up(raw: RawClient) -> bool:
    poll = select.poll()
    poll.register(raw.sock, select.POLLHUP)
    return bool(poll.poll(0))


def test_who_does_not_read_its_answers_does_not_fill_the_router(daemon: Daemon, to: Dispatcher) -> None:
    """A thousand answers of 16 buffers each wait for nobody: descriptors are bounded, and others are served. Once it
    reads, it has one answer for each."""
    limit = resource.prlimit(daemon.router, resource.RLIMIT_NOFILE)[0]
    before, count = open_fds(daemon.router), 1000
    with daemon.raw() as slow:
        asked = b"".join(order("images", "make", {"size": 1, "count": 16}, [], number) for number in range(count))
        slow.send_bytes(asked)
        until(lambda: waiting(daemon) == 0, 60.0, "all are done")
        assert open_fds(daemon.router) - before < limit // 8 + 100
        assert to.call(moved.who, detailed=True).by == "worker"
        answers = [slow.receive() for _ in range(count)]
        assert sorted(answer["jobId"] for answer in answers) == list(range(count))
        assert {answer.get("code") for answer in answers} <= {None, "not_allowed"}
        assert slow.call(1, "ping")["data"] == "pong"
    until(lambda: open_fds(daemon.router) <= before + 3, what="the router's descriptors are what they were")


def test_who_asks_and_does_not_read_is_not_heard_any_more(daemon: Daemon, to: Dispatcher) -> None:
    """What it is told is kept up to a bound, and so it cannot ask for more; when it reads, it is heard again."""
    with daemon.raw() as slow:
        asked, sent = b'{"type": "ping"}\n' * 1000, 0
        slow.sock.settimeout(2.0)
        with contextlib.suppress(TimeoutError):
            while sent < 10_000_000:
                sent += slow.sock.send(asked[sent % len(asked) :])
        assert sent < 10_000_000
        assert to.call(moved.who, detailed=True).by == "worker"
        slow.sock.settimeout(20.0)
        for _ in range(sent * 1000 // len(asked)):
            assert slow.receive()["type"] == "pong"
