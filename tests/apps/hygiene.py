"""A job that looks at the process it was given."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from stoker import Product

hygiene = Product("hygiene")
FORBIDDEN = ("apsw", "sqlite3", "stoker.store", "stoker.router", "uvloop")
PR_GET_PDEATHSIG = 2
PR_GET_CHILD_SUBREAPER = 37


def asked_of_kernel(option: int) -> int:
    value = ctypes.c_int()
    ctypes.CDLL(None).prctl(option, ctypes.byref(value), 0, 0, 0)
    return value.value


@hygiene.command
def looks() -> dict[str, Any]:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    fds = {}
    for fd in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            fds[fd] = os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]
        except OSError:
            continue  # the descriptor of the listing itself
    return {
        "fds": fds,
        "cloexec": os.get_inheritable(3) is False,
        "blocked": int(status["SigBlk"], 16),
        "ignored": [number for number in range(1, 32) if int(status["SigIgn"], 16) >> (number - 1) & 1],
        "caught": [number for number in range(1, 32) if int(status["SigCgt"], 16) >> (number - 1) & 1],
        "wakeup": signal.set_wakeup_fd(-1),
        "threads": int(status["Threads"]),
        "group": [os.getpid(), os.getpgid(0)],
        "pdeathsig": asked_of_kernel(PR_GET_PDEATHSIG),
        "subreaper": asked_of_kernel(PR_GET_CHILD_SUBREAPER),
        "frozen": gc.get_freeze_count(),
        "collecting": gc.isenabled(),
        "forbidden": [name for name in FORBIDDEN if name in sys.modules],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "umask": os.umask(0o22),
        "environ": sorted(name for name in os.environ if name.startswith("STOKER_") or name == "NOTIFY_SOCKET"),
    }


@hygiene.command
def rolls() -> list[float]:
    return [random.random(), float(int.from_bytes(os.urandom(4), "big"))]


@hygiene.command
def probes() -> str:
    """Every lock that an import, a log line, an allocation or a print may want is free."""
    import logging
    import queue

    logging.getLogger("probe").warning("free")
    print("free", flush=True)
    queue.Queue[int]().put(1)
    thread = threading.Thread(target=time.monotonic)
    thread.start()
    thread.join()
    return "free"


@hygiene.command(isolation="inline")
def starts_a_thread(name: str) -> None:
    threading.Thread(target=time.sleep, args=(3600,), name=name, daemon=True).start()


@hygiene.command
def private_memory() -> dict[str, int]:
    """Kilobytes of this process that it shares with nobody, before and after a full collection."""
    before = dirty()
    gc.collect()
    return {"before": before, "after": dirty()}


def dirty() -> int:
    text = Path("/proc/self/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_Dirty"))


BALLAST = [[[number], str(number)] for number in range(100_000)]
