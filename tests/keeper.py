"""Starts a program, says how it ends, and leaves nothing of it behind.

``python -I -S keeper.py PROGRAM ARG…`` prints ``pid N``, later ``exit STATUS``. When its standard input ends, which the
kernel sees to even if the test run is killed, every process that came of the program is killed: the keeper is their
subreaper, so neither a new session nor a dead parent takes one out of its sight.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36


def say(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


def start(argv: list[str]) -> int:
    """The program with our standard error as both its outputs, and nothing else of ours."""
    null = os.open(os.devnull, os.O_RDONLY)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    return os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions, setsigdef=[signal.SIGPIPE])


def reap(child: int) -> None:
    """Collect whoever ended; report the program itself."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid == child:
                say(f"exit {os.waitstatus_to_exitcode(status)}")


def below(pid: int) -> list[int]:
    """Every process under one, nearest first."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(word) for word in file.read().split()]
    return found + [deeper for child in list(found) for deeper in below(child)]


def end_all() -> None:
    """Kill until nothing is left: what forks faster than it dies is stopped first."""
    while True:
        alive = below(os.getpid())
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    child = start(sys.argv[1:])
    say(f"pid {child}")
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            reap(child)
        if 0 in ready:
            end_all()
            return


if __name__ == "__main__":
    main()
