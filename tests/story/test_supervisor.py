"""The worker under a real supervisord, by the program section of the 003 document as it stands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker import Client
from stoker import settings as settings_module
from tests.daemon import KEEPER, NOT_OURS, alive, below, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "supervisord"
BIN = Path(sys.executable).parent
STARTSECS = 1

COMMANDS = """
import asyncio, os
from stoker.surreal_commands import CommandInput, CommandOutput, command

class Nothing(CommandInput):
    pass

class Told(CommandOutput):
    success: bool
    pid: int
    key: str | None

@command("open_notebook", "tell")
async def tell(input_data: Nothing) -> Told:
    return Told(success=True, pid=os.getpid(), key=os.environ.get("OPENAI_API_KEY"))
"""

OTHERS = """
[program:surrealdb]
command=sleep infinity
priority=1

[program:api]
command=sleep infinity
priority=10
"""


class Supervised:
    """A supervisord with the example's files, in a folder of its own. Only what names places and times is changed."""

    def __init__(self, **environ: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="st-", dir="/tmp"))
        (self.folder / "commands.py").write_text(COMMANDS)
        section = (EXAMPLE / "supervisord.single.conf").read_text()
        section = section.replace("command=/app/", f"command={EXAMPLE}/").replace(
            "startsecs=18", f"startsecs={STARTSECS}"
        )
        main = (EXAMPLE / "supervisord.conf").read_text().replace("/tmp/stoker-", f"{self.folder}/")
        (self.folder / "supervisord.single.conf").write_text(section)
        (self.folder / "supervisord.conf").write_text(OTHERS + main)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        self.environ = {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", **environ}
        self.lines: list[tuple[float, str]] = []
        # a pipe, as a container has it: the output must not need to be a file
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER), str(BIN / "supervisord"), "-c", "supervisord.conf"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self.folder, env=self.environ,
        )  # fmt: skip
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append((time.monotonic(), line.decode(errors="replace").rstrip("\n")))

    def heard(self, text: str, after: int = 0, seconds: float = 30.0) -> int:
        """Wait for a line with this text; its number."""

        def find() -> int:
            return next((n for n, (_, line) in enumerate(self.lines[after:], after + 1) if text in line), 0)

        try:
            return until(find, seconds, f"a line with {text!r}") - 1
        except AssertionError:
            raise AssertionError(f"no {text!r} in:\n" + "\n".join(line for _, line in self.lines)) from None

    def ctl(self, *words: str) -> str:
        done = subprocess.run(
            [str(BIN / "supervisorctl"), "-c", "supervisord.conf", *words],
            cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.stdout

    def pid(self) -> int:
        """Of the worker, when it is RUNNING."""
        match = until(lambda: re.search(r"RUNNING\s+pid (\d+)", self.ctl("status", "worker")), 30.0, "worker RUNNING")
        assert match is not None
        return int(match[1])

    def client(self) -> Client:
        return Client(settings=settings_module.load({"root": str(self.folder)}, environ={}))

    def tell(self) -> dict[str, Any]:
        """What a job says of its process, when the worker answers."""
        with self.client() as client:
            until(client.try_connect, 30.0, "the worker answers")
            told: dict[str, Any] = client.call("open_notebook.tell")
            return told

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.reader.join()
        self.process.stderr.close()
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    found = Supervised(OPENAI_API_KEY="sk-not-in-passenv")
    yield found
    found.close()


def test_the_section_of_the_document_is_taken_as_it_stands(supervised: Supervised) -> None:
    """O38, O41: `passenv` is no option of supervisord; it is passed over, and everything is passed on anyway."""
    section = (EXAMPLE / "supervisord.single.conf").read_text()
    assert "passenv=SURREAL_URL," in section
    assert "priority=20  # Starts after SurrealDB and API" in section
    supervised.heard("spawned: 'worker'")
    assert re.search(r"^worker\s+in use\s+auto\s+\d+:20$", supervised.ctl("avail"), re.MULTILINE)
    spawned = [name for _, line in supervised.lines for name in re.findall(r"spawned: '(\w+)'", line)]
    assert spawned == ["surrealdb", "api", "worker"]
    supervised.pid()
    assert supervised.tell()["key"] == "sk-not-in-passenv"


def test_it_runs_only_after_startsecs_and_speaks_at_once(supervised: Supervised) -> None:
    """O26, O27, O39, O40."""
    spawned = supervised.heard("spawned: 'worker'")
    delay = supervised.heard("Worker enabled - starting after 15s delay...")
    starting = supervised.heard("Starting surreal-commands-worker...")
    ready = supervised.heard(" ready ")
    running = supervised.heard("success: worker entered RUNNING state")
    assert spawned < delay < starting < ready
    assert supervised.lines[running][0] - supervised.lines[spawned][0] >= STARTSECS
    assert supervised.lines[ready][0] - supervised.lines[spawned][0] < 15, "cut short when the store is ready"
    before = len(supervised.lines)
    supervised.tell()
    supervised.heard("Command completed successfully", after=before)


def test_a_killed_worker_comes_back(supervised: Supervised) -> None:
    """O28, O37, O58."""
    first, old = supervised.pid(), supervised.tell()["pid"]
    before = len(supervised.lines)
    os.kill(first, signal.SIGKILL)
    supervised.heard("exited: worker (terminated by SIGKILL; not expected)", after=before)
    supervised.heard("success: worker entered RUNNING state", after=before)
    assert supervised.pid() != first
    assert supervised.tell()["pid"] != old
    until(lambda: not alive(old), what="the old resident is gone")


def test_stopping_it_is_in_order(supervised: Supervised) -> None:
    supervised.pid()
    supervised.heard(" ready ")
    assert "worker: stopped" in supervised.ctl("stop", "worker")
    supervised.heard("stopped: worker (exit status 0)")


def test_switched_off_it_idles_and_says_so() -> None:
    """O25: supervisord leaves it alone, and jobs stay new."""
    supervised = Supervised(ENABLE_WORKER="false")
    try:
        said = supervised.heard("Worker disabled (ENABLE_WORKER=false)")
        assert supervised.heard("Document processing will not work!") == said + 1
        first = supervised.pid()
        with supervised.client() as client:
            assert not client.try_connect()
            client.submit("open_notebook.tell")
        assert supervised.pid() == first
        assert not (supervised.folder / ".stoker" / "stoker.sock").exists()
    finally:
        supervised.close()


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    """supervisord closes the pipe when its own log fails; so does `stoker up 2>&1 | head`."""
    with tempfile.TemporaryDirectory(prefix="st-", dir="/tmp") as folder:
        (Path(folder) / "commands.py").write_text(COMMANDS)
        read, write = os.pipe()
        command = [sys.executable, "-I", "-S", str(KEEPER), str(BIN / "stoker"), "up", "commands"]
        environ = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        keeper = subprocess.Popen(
            command, cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=write
        )
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        os.close(write)
        try:
            pid = int(keeper.stdout.readline().split()[1])
            os.read(read, 1)
            os.close(read)
            with Client(settings=settings_module.load({"root": folder}, environ={})) as client:
                until(client.try_connect, 30.0, "the daemon answers")
                assert [client.call("open_notebook.tell")["success"] for _ in range(3)] == [True] * 3
            router = next(one.pid for one in below(pid) if one.title == "stoker-router")
            os.kill(router, signal.SIGKILL)
            with Client(settings=settings_module.load({"root": folder}, environ={})) as client:
                until(client.try_connect, 30.0, "the daemon answers again")
            os.kill(pid, signal.SIGTERM)
            assert keeper.stdout.readline() == b"exit 0\n"
        finally:
            keeper.stdin.close()
            keeper.wait(30)
            keeper.stdout.close()
