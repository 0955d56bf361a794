"""A job that starts processes in every way that makes them hard to find again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from stoker import Product
from tests.apps.kit import append, hold

trees = Product("trees")


def stays(tag: str) -> None:
    """Be somebody who only SIGKILL ends; never returns."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    append("tree.txt", f"{tag} {os.getpid()}")
    while True:
        time.sleep(60)


def fork_and(*steps: str) -> None:
    """A child that takes the steps, and stays."""
    if os.fork():
        return
    for step in steps:
        if step == "setsid":
            os.setsid()
        elif step == "fork" and os.fork():
            os._exit(0)
    stays("+".join(steps) or "child")


def grow() -> None:
    fork_and()
    fork_and("setsid")
    fork_and("fork", "setsid")
    fork_and("setsid", "fork", "setsid", "fork")
    shell = "echo shell $$ >> tree.txt; trap '' TERM INT HUP; while :; do sleep 60; done"
    subprocess.Popen(["sh", "-c", shell], start_new_session=True)
    end = time.monotonic() + 20
    while len(open("tree.txt").readlines()) < KINDS and time.monotonic() < end:  # noqa: SIM115 (a few milliseconds)
        time.sleep(0.005)


KINDS = 5


@trees.command
def grows(gate: str) -> str:
    """Plants the tree and waits; an interrupt ends the handler, which cleans nothing up."""
    open("tree.txt", "w").close()
    grow()
    hold(gate)
    return "left it standing"


@trees.command(timeout=1.0)
def outlives(gate: str) -> str:
    """The same until its time is over, deaf to every polite word."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open("tree.txt", "w").close()
    grow()
    while True:
        try:
            hold(gate)
        except BaseException:
            continue


@trees.command
def breeds(count: int) -> None:
    """Forks faster than a slow killer kills."""
    open("tree.txt", "w").close()
    for _ in range(count):
        if os.fork() == 0:
            os.setsid()
            end = time.monotonic() + 30
            while time.monotonic() < end:
                if os.fork() == 0:
                    time.sleep(0.05)
                    os._exit(0)
                time.sleep(0.01)
                while True:
                    try:
                        if os.waitpid(-1, os.WNOHANG)[0] == 0:
                            break
                    except ChildProcessError:
                        break
            os._exit(0)
    hold("breeds")
    sys.exit()
