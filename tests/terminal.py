"""The command line, typed: ``stoker …`` beside a daemon of the tests, with pipes or on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from typing import Any

from tests.daemon import Daemon

STOKER = (sys.executable, "-m", "stoker")
WITHIN = 40.0
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def typed(
    daemon: Daemon, *words: str, input: str = "", code: int = 0, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in the daemon's folder; its exit code must be ``code``, and no traceback may be seen."""
    done = subprocess.run(
        [*STOKER, *words], cwd=daemon.folder, env={**daemon.environ, **environ}, input=input, capture_output=True,
        text=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback (most recent call last)" not in done.stderr
    return done


def answer(daemon: Daemon, *words: str, code: int = 0) -> Any:
    """The one JSON document that a command prints."""
    return json.loads(typed(daemon, *words, code=code).stdout)


class Terminal:
    """A command on a terminal of 100 columns, read as it writes."""

    def __init__(self, daemon: Daemon, *words: str, **environ: str) -> None:
        self._ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (30, 100))
        self._process = subprocess.Popen(
            [*STOKER, *words], cwd=daemon.folder, env={**daemon.environ, "TERM": "xterm-256color", **environ},
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.raw = ""

    @property
    def seen(self) -> str:
        """Everything that was written so far, without colours and moves of the cursor."""
        return _ESCAPE.sub("", self.raw).replace("\r", "")

    def wait_for(self, text: str, seconds: float = WITHIN) -> None:
        """Read until it has written this."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            left = end - time.monotonic()
            more = left > 0 and self._read(left)
            assert more, f"never saw {text!r}; at the end:\n{self.seen[-1500:]}"

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def end(self, seconds: float = WITHIN) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + seconds
        while self._read(end - time.monotonic()):
            assert time.monotonic() < end, f"did not end:\n{self.seen[-1500:]}"
        return self._process.wait(seconds)

    def _read(self, seconds: float) -> bool:
        """Read what is there, or wait for it; False at the end."""
        if not select.select([self._ours], [], [], max(0.0, seconds))[0]:
            return True
        try:
            data = os.read(self._ours, 1 << 16)
        except OSError:  # EIO: the other side is closed
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        os.close(self._ours)
