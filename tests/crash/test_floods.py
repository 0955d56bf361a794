"""D30, the payload part: too large, too deep, too long, too strange: refused or cut in words, in bounded memory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stoker import AsyncClient, JobFailed
from stoker.model.errors import PayloadTooLarge
from tests import ledger
from tests.crash.conftest import Make
from tests.daemon import Daemon, scaled, until

MB = 1 << 20
GROWTH_MAX = 100 * MB


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("floods", consumers_max=2, max_output="1MB", max_input="4MB") as daemon:
        daemon.client.call("floods.takes", value=1)
        yield daemon


def memory(pid: int, field: str = "VmRSS") -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{field}:")) * 1024


async def submitted(client: AsyncClient, value: dict[str, str]) -> None:
    async with client:
        await client.submit("floods.takes", value)


@pytest.fixture
def bounded(daemon: Daemon) -> Iterator[int]:
    """The router, which must be the same and no more than so much larger after the test."""
    router = daemon.router
    Path(f"/proc/{router}/clear_refs").write_text("5")  # the peak from now on
    before = memory(router)
    yield router
    assert daemon.router == router
    assert memory(router, "VmHWM") - before < GROWTH_MAX


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A disk of so many bytes on a folder; gives a function that makes it larger."""
    folder.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(folder)], check=True)
    try:
        yield lambda more: subprocess.run(
            ["mount", "-o", f"remount,size={more}", str(folder)], check=True
        ).check_returncode()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_payload_of_100_mb(daemon: Daemon, bounded: int) -> None:
    """Refused in words, also to a client that is still sending; over the bare socket the line is cut off in time."""
    large = {"value": "v" * (100 * MB)}
    with pytest.raises(PayloadTooLarge, match=r"a line may have 4\.1 MB at most"):
        daemon.client.submit("floods.takes", large)
    with pytest.raises(PayloadTooLarge, match=r"a line may have 4\.1 MB at most"):
        asyncio.run(submitted(daemon.async_client(), large))
    with pytest.raises(PayloadTooLarge, match=r"the input has 4\.0 MB, more than 4\.0 MB"):
        daemon.client.submit("floods.takes", {"value": "v" * (4 * MB)})
    with daemon.raw() as raw:
        raw.send_bytes(b'{"type": "call", "id": 1, "method": "floods.takes", "params": {"value": "')
        refusal = b""
        try:
            for _ in range(100):
                raw.send_bytes(b"v" * MB)
        except OSError:
            refusal = b"cut"
        try:
            while answer := raw.receive():
                refusal = answer["message"].encode()
        except (EOFError, OSError):
            pass
    assert refusal
    assert daemon.client.call("floods.takes", value="fits") == 4


def test_nested_ten_thousand_deep(daemon: Daemon, bounded: int) -> None:
    """Refused with the code ``too_large``, whether in the envelope or in the input; the connection lives."""
    deep = b"[" * 10_000 + b"]" * 10_000
    with daemon.raw() as raw:
        for line in (
            b'{"type": "call", "id": 1, "method": "floods.takes", "params": {"value": ' + deep + b"}}",
            b'{"type": "call", "id": 1, "method": "submit", "params": {"command": "floods.takes", "input": {"value": '
            + deep + b"}}}",
        ):  # fmt: skip
            raw.send_bytes(line + b"\n")
            answer = raw.receive()
            assert (answer["type"], answer["code"]) == ("error", "too_large"), answer
        raw.send_bytes(deep + b"\n")
        assert raw.receive()["type"] == "error"
        assert raw.call(2, "ping")["data"] == "pong"


def test_a_result_too_deep_or_too_large(daemon: Daemon, bounded: int) -> None:
    """The handler's own fault, told to its caller; nothing else is disturbed."""
    with pytest.raises(JobFailed, match="InvalidOutput"):
        daemon.client.call("floods.deep", depth=10_000)
    with pytest.raises(JobFailed, match=r"ResultTooLarge: the result has 5\.0 MB, more than 4\.0 MB"):
        daemon.client.call("floods.returns", size=5 * MB)
    assert len(daemon.client.call("floods.returns", size=3 * MB)) == 3 * MB
    with pytest.raises(JobFailed, match="one event may have"):
        daemon.client.call("floods.streams", size=3 * MB)


@pytest.mark.parametrize("command", ["prints", "one_line"])
def test_a_flood_of_output(daemon: Daemon, bounded: int, command: str) -> None:
    """A gigabyte in lines, or 200 MB in one (scaled): the job is not stopped, what is kept is the bound, with one mark
    where it was cut, and the router does not grow."""
    size = scaled(200, 20) * MB
    job = daemon.client.submit(f"floods.{command}", {"size": size})
    assert job.result(100) == size // (1024 if command == "prints" else MB) * (1024 if command == "prints" else MB)
    events = list(job.events())
    kept = sum(len(event.value()) for event in events if event.kind in ("stdout", "stderr"))
    assert 0.9 * MB < kept <= MB
    assert [event.value()["message"] for event in events if event.kind == "log"] == ["output cut: more than 1.0 MB"]


def test_strange_bytes(daemon: Daemon, bounded: int) -> None:
    """NUL, invalid UTF-8, a character cut in two, terminal codes: kept as text that every reader can decode."""
    job = daemon.client.submit("floods.strange")
    job.result(20)
    text = "".join(str(event.value()) for event in job.events())
    assert text == "nul \x00 bad \ufffd\ufffd ansi \x1b[2J\x1b]0;owned\x07 half € end\n"
    with daemon.raw() as raw:
        raw.call(1, "events", job=job.id)
    assert "\x1b" not in daemon.log(), "nothing of a job's output reaches the daemon's own log"


def test_strange_words_in_logs_and_progress(daemon: Daemon, bounded: int) -> None:
    """They survive the way through the store and the wire unchanged, as JSON."""
    job = daemon.client.submit("floods.logs_strange")
    job.result(20)
    (line,) = [event.value() for event in job.events() if event.kind == "log"]
    assert line["message"] == "nul \x00 ansi \x1b[2J"
    progress = job.progress()
    assert progress is not None
    assert progress.message == "\x1b[31mred\x00"


def test_strange_input(daemon: Daemon, bounded: int) -> None:
    """Big integers, NaN, huge names: an answer in words, or the value as it was."""
    with daemon.raw() as raw:
        digits = b"9" * 5000
        raw.send_bytes(b'{"type": "call", "id": 1, "method": "floods.takes", "params": {"value": ' + digits + b"}}\n")
        assert raw.receive()["type"] in ("return", "error")
        raw.send_bytes(b'{"type": "call", "id": 2, "method": "floods.takes", "params": {"value": NaN}}\n')
        assert raw.receive()["type"] == "error"
        name = "n" * (64 << 10)
        answer = raw.call(3, f"floods.{name}")
        assert answer["code"] == "unknown_command"
        assert raw.call(4, "job", job="../../../etc/passwd\x00")["code"] == "refused"
        assert raw.call(5, "jobs", limit=10**9)["type"] == "return"
        assert raw.call(6, "submit_many", jobs=[{"command": "floods.takes"}] * 20_000)["code"] == "too_large"
    assert json.loads(json.dumps(daemon.client.stats()))["pid"] == bounded


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk; run the tests as root")
def test_a_full_disk(make: Make) -> None:
    """D30, O63: on a tmpfs of a few megabytes: submissions are refused in words, running jobs end when there is room
    again, without a restart, and nothing acknowledged is lost."""
    daemon = make("ledgered", begin=False)
    with small_disk(daemon.settings.folder, "3m") as grow:
        daemon.start()
        running = daemon.client.submit("led.work", {"gate": "disk"})
        daemon.wait_here("disk")
        ids = [running.id]
        with daemon.raw() as raw:
            refused = None
            while refused is None:
                answer = raw.call(1, "submit", command="led.work", input={"gate": "disk", "text": "t" * 50_000})
                if answer["type"] == "error":
                    refused = answer
                else:
                    ids.append(answer["data"]["id"])
        assert refused["code"] == "store_full"
        assert "is full; free some space" in refused["message"]
        daemon.open_gate("disk")
        until(lambda: "endings could not be written; trying again" in daemon.log())
        router = daemon.router
        grow("60m")
        for id in ids:
            assert daemon.client.job(id).wait(60).status == "completed"
        assert daemon.client.call("led.work")["attempt"] == 1
        assert daemon.router == router
        ledger.check(daemon.folder, daemon.store, ids, faults=0, expect="completed")
        assert daemon.stop() == 0
        assert ledger.sound(daemon.store)


def test_too_large_without_a_daemon(make: Make) -> None:
    """D30: the same bound holds for what goes straight into the store."""
    daemon = make("floods", begin=False, max_input="1MB")
    with pytest.raises(PayloadTooLarge, match=r"more than 1\.0 MB"):
        daemon.client.submit("floods.takes", {"value": "v" * (2 * MB)})
    assert not daemon.store.exists()
