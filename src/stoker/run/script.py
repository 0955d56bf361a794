"""A program as a command: started from an argument list, without a shell, below the process of its job.

So the job's limits hold for it: what it writes is captured by the same pipes, its memory counts with the tree's, a
cancel or the end of its time is raised here and ends it, and whatever it leaves behind is killed with the tree.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

import msgspec

from stoker.model import argv
from stoker.model.quantities import show_size

STOP_GRACE = 1.0
"""Seconds that a program has to end when its job is stopped."""
OUTPUT_MAX = 64 << 20
"""Bytes of a result that a program may print."""


class ScriptFailed(Exception):
    """The program could not be started, or did not end with 0."""


def perform(found: Any, result: str) -> Any:
    """Run the program that a handler named; the result of the job. Raises :class:`ScriptFailed`."""
    words = argv.checked(found)
    if result != "json":
        run(words, None)
        return {"exit": 0}
    with tempfile.TemporaryFile() as printed:
        run(words, printed)
        size = printed.tell()
        if size > OUTPUT_MAX:
            raise ScriptFailed(f"{words[0]} printed {show_size(size)}, more than {show_size(OUTPUT_MAX)}")
        printed.seek(0)
        try:
            return msgspec.json.decode(printed.read())
        except (msgspec.DecodeError, RecursionError) as error:
            raise ScriptFailed(f"{words[0]} did not print JSON: {error}") from None


def run(words: list[str], stdout: Any, *, env: Mapping[str, str] | None = None, cwd: str | None = None) -> None:
    """Run a program to its end. Raises :class:`ScriptFailed` unless that is 0."""
    try:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stdout, env=env, cwd=cwd)
    except OSError as error:
        raise ScriptFailed(f"{words[0]} cannot be started: {error.strerror}") from None
    try:
        code = child.wait()
    except BaseException:
        _end(child)
        raise
    if code < 0:
        raise ScriptFailed(f"{words[0]} was ended by signal {-code} ({_name(-code)})")
    if code:
        raise ScriptFailed(f"{words[0]} ended with exit code {code}")


def _end(child: subprocess.Popen[bytes]) -> None:
    """The job is to stop: ask the program, then end it."""
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_GRACE)
    child.kill()
    child.wait()


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
