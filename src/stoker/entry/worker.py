"""``stoker worker``: the profile of a container that starts beside its database, with a switch to leave it off."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping

from stoker.client import offline
from stoker.model.errors import StoreError
from stoker.settings import Settings
from stoker.store import address

TASKS = 5
"""Jobs at one time when nothing is said."""
LOOK_EVERY = 0.1


def enabled(environ: Mapping[str, str]) -> bool:
    """``ENABLE_WORKER``, true unless it says otherwise."""
    return environ.get("ENABLE_WORKER", "true").strip().lower() not in ("false", "0", "no", "off")


def idle() -> int:
    """Say that nothing will work, and stay until a signal: who supervises us must not take us for broken."""
    print("Worker disabled (ENABLE_WORKER=false)")
    print("Document processing will not work!", flush=True)
    ends = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    signal.sigwait(ends)
    return 0


def await_store(settings: Settings) -> None:
    """Wait for the store, as long as ``start_delay`` says and no longer than it needs. Why it cannot be opened is said
    at once, and when that is for another reason; the daemon goes on with one that never comes."""
    print(f"Worker enabled - starting after {settings.start_delay:g}s delay...", flush=True)
    deadline = time.monotonic() + settings.start_delay
    tries, said = 0, None
    while (reason := missing(settings)) is not None and time.monotonic() < deadline:
        tries += 1
        if reason != said:
            print(f"Connection retry {tries}... {reason}", flush=True)
            said = reason
        time.sleep(LOOK_EVERY)
    if said is not None and reason is None:
        print("Connected successfully", flush=True)


def missing(settings: Settings) -> str | None:
    """Why the store cannot be opened; None when it is there and ours, or can be made."""
    path = settings.store_path
    if path is not None and not path.parent.parent.exists():
        # the daemon makes one folder; a missing disk has more missing than that
        return f"there is no folder {path.parent.parent}"
    try:
        offline.finish(address.look(settings.store))
    except StoreError as error:
        return error.message
    return None
