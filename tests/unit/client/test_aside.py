"""Work that nobody has to wait for: done in order, by a thread that does not stay for ever nor keep anybody."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from stoker.client import aside
from stoker.client.aside import Aside
from tests.daemon import until


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "stoker-buffers"]


def test_it_is_done_in_order_by_one_thread_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "IDLE", 0.05)
    before = threads()
    made, done, who = Aside(), list[int](), set[int]()

    def work(number: int) -> None:
        done.append(number)
        who.add(threading.get_ident())

    for number in range(1000):
        made.do(lambda number=number: work(number))  # type: ignore[misc]
    until(lambda: len(done) == 1000)
    assert done == list(range(1000))
    assert len(who) == 1
    assert threading.get_ident() not in who
    until(lambda: set(threads()) <= set(before), what="the end of the thread")
    made.do(lambda: work(1000))
    until(lambda: done[-1] == 1000)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_fails_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(str(args.exc_value)))
    made, done = Aside(), list[int]()

    def fails() -> None:
        raise RuntimeError("no luck")

    made.do(fails)
    until(lambda: told == ["no luck"])
    until(lambda: not made._lives)
    made.do(lambda: done.append(1))
    until(lambda: done == [1])


def test_neither_a_fork_nor_the_end_of_the_program_is_in_its_way() -> None:
    code = """
import os, threading, warnings
from stoker.client import aside

warnings.simplefilter("ignore")  # of a fork beside threads: that is what this is about
done, blocked = threading.Event(), threading.Event()
aside.do(done.set)
assert done.wait(20)
aside.do(blocked.wait)  # for ever
child = os.fork()
if child == 0:
    here = threading.Event()
    aside.do(here.set)
    os._exit(0 if here.wait(20) else 1)
assert os.waitpid(child, 0)[1] == 0
print("ends")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=os.environ)
    assert (done.stdout, done.stderr, done.returncode) == ("ends\n", "", 0)
