"""Jobs under a tracer or a debugger: neither shortened nor prolonged by it (V116)."""

from __future__ import annotations

import pytest

from stoker import JobFailed
from tests.daemon import Daemon
from tests.story.conftest import Make

TRACED = """
import sys, time
from stoker import Product

traced = Product("traced")
seen = 0

def tracer(frame, event, arg):
    global seen
    seen += 1
    return tracer

def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)

@traced.command
def long(seconds: float) -> tuple[float, int]:
    sys.settrace(tracer)
    began = time.monotonic()
    busy(seconds)
    sys.settrace(None)
    return time.monotonic() - began, seen

@traced.command(timeout=0.3)
def limited() -> None:
    sys.settrace(tracer)
    busy(60)

@traced.command
def stopped() -> None:
    breakpoint()
"""


def traced(make: Make) -> Daemon:
    daemon = make("traced", begin=False)
    daemon.file("traced.py").write_text(TRACED)
    return daemon.start()


def test_a_tracer_neither_shortens_nor_prolongs(make: Make) -> None:
    daemon = traced(make)
    seconds, events = daemon.client.call("traced.long", seconds=1.0)
    assert seconds >= 1.0
    assert events > 100, "it was traced"
    with pytest.raises(JobFailed, match=r"time limit 0\.3 s exceeded"):
        daemon.client.call("traced.limited")


def test_a_breakpoint_finds_no_terminal_and_ends(make: Make) -> None:
    daemon = traced(make)
    with pytest.raises(JobFailed, match="BdbQuit"):
        daemon.client.call("traced.stopped")
