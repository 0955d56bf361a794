"""What the test applications share: gates where a job waits for its test, and the ledger."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path


def hold(gate: str, seconds: float = 60.0) -> None:
    """Say that we are here, and wait until the test opens the gate."""
    append(f"{gate}.here", str(os.getpid()))
    end = time.monotonic() + seconds
    while not Path(f"{gate}.gate").exists():
        if time.monotonic() > end:
            raise TimeoutError(f"nobody opened {gate}")
        time.sleep(0.005)


def append(file: str, line: str) -> None:
    """One line with one write, so that lines of many processes never mix."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)


def enter(job: str, attempt: int, what: str) -> None:
    """One entry in the ledger: ``begin`` or ``end`` of an attempt, by which process."""
    append("ledger", json.dumps([job, attempt, what, os.getpid()]))
