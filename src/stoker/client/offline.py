"""Submitting while no daemon runs: straight into the store, so that nothing is lost; it runs when one starts.

Only when nobody holds the store: one writing process a file is what keeps SQLite fast and fair, so while a daemon is
starting or stopping its client waits for the socket instead.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from stoker.model.command import Command
from stoker.model.errors import AlreadyRunning, SettingsError, StoreError, StoreUnavailable
from stoker.model.job import Submitted
from stoker.model.request import Request, resolve
from stoker.settings import Settings
from stoker.store import address
from stoker.store.base import Counts, Store
from stoker.store.sqlite import tending
from stoker.wire.endpoint import make_private_folder

T = TypeVar("T")
LOCK = ".lock"
LEAVING = "leaving"
TRIES = 1000
"""How often the lock's file may be gone again before something else must be wrong."""


class Hold:
    """A store's file while it is held: what stands in the lock's file tells whoever is refused who has it."""

    def __init__(self, path: Path | None, fd: int = -1) -> None:
        self._path = path
        self._fd = fd
        self.made = path is not None and not os.path.lexists(path)
        """There was no store yet when this began."""
        self._write(str(os.getpid()))

    def leaving(self) -> None:
        """Say that the holder takes nothing new and will be gone."""
        self._write(f"{os.getpid()} {LEAVING}")

    def forget(self) -> None:
        """Take away a store that was made since and in which no job lies, and the lock's file, so that nothing is left
        of what could not begin. What cannot be looked into, or taken away, stays."""
        if self._path is None or not self.made:
            return
        with suppress(StoreError, OSError):
            if self._path.exists() and tending.has_jobs(self._path):
                return
            # the lock's file last: until then nobody else makes a store here
            for end in ("", "-wal", "-shm", LOCK):
                Path(f"{self._path}{end}").unlink(missing_ok=True)

    def _write(self, text: str) -> None:
        if self._path is not None:
            with suppress(OSError):  # a full disk is no reason not to hold it
                os.pwrite(self._fd, f"{text}\n".encode(), 0)
                os.ftruncate(self._fd, len(text) + 1)


@contextmanager
def held(path: Path | None) -> Iterator[Hold]:
    """Hold the store in this file alone; a server (None) needs no holding, many work on it. Raises
    :class:`AlreadyRunning` when somebody else has the file, and StoreUnavailable when it cannot be locked."""
    if path is None:
        yield Hold(None)
        return
    fd = _locked(path)
    try:
        yield Hold(path, fd)
    finally:
        os.close(fd)


def _locked(path: Path) -> int:
    """The lock's file, open and ours. Whoever held it may have taken its name away meanwhile (see :meth:`Hold.forget`):
    then two would hold two different files, so it is looked at again under the lock."""
    lock = f"{path}{LOCK}"
    for left in reversed(range(TRIES)):
        try:
            make_private_folder(path.parent)
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the folder went just now
            continue
        except SettingsError:  # or while it was made; what is wrong for good is so at the last try, too
            if not left:
                raise
            continue
        except OSError as error:
            raise StoreUnavailable(f"cannot open {lock}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same(lock, os.fstat(fd)):
                return fd
        except BlockingIOError:
            refused = _refusal(path, fd)
            os.close(fd)
            raise AlreadyRunning(refused) from None
        os.close(fd)
    raise StoreUnavailable(f"cannot hold {lock}: it is gone as soon as it is made")


def _refusal(path: Path, fd: int) -> str:
    """Why it cannot be held, and by whom, where that is certain."""
    pid, _, state = os.pread(fd, 100, 0).decode(errors="replace").strip().partition(" ")
    # the number may be that of one who was killed long ago: it counts only if that process has this very file open
    known = pid.isdecimal() and any(_same(one, os.fstat(fd)) for one in _open_files(pid) - {_file_of(os.getpid(), fd)})
    if known and state == LEAVING:
        return (
            f"the daemon that was started before (pid {pid}) is finishing its jobs and works on {path} until then; "
            "try again when it has ended"
        )
    who = f" (pid {pid})" if known else ""
    return f"another daemon works on {path}{who}; a store belongs to one daemon at a time"


def _open_files(pid: str) -> set[str]:
    try:
        return {_file_of(pid, number) for number in os.listdir(f"/proc/{pid}/fd")}
    except OSError:
        return set()


def _file_of(pid: int | str, fd: int | str) -> str:
    return f"/proc/{pid}/fd/{fd}"


def _same(path: str, there: os.stat_result) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino)


def submit(
    settings: Settings, requests: Sequence[Request], commands: Mapping[str, Command[..., Any]]
) -> list[Submitted | Exception]:
    """Store the requests. A command that is not at hand gets the settings a command has by default."""
    for request in requests:
        request.check_size(settings.max_input)
    with held(settings.store_path):
        return finish(_submit(settings.store, requests, commands))


def counts(settings: Settings) -> Counts | None:
    """How many jobs there are; None while there is no store. Raises StoreError."""

    async def read() -> Counts | None:
        found = await address.look(settings.store)
        if found is None or found.version != found.newest:
            return None
        async with opened(settings.store) as store:
            return await store.counts()

    return finish(read())


@asynccontextmanager
async def opened(store: str) -> AsyncIterator[Store]:
    """The store at an address, for a while."""
    made = address.store_at(store)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end and return what it returns, also where an event loop runs in this thread already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _submit(
    place: str, requests: Sequence[Request], commands: Mapping[str, Command[..., Any]]
) -> list[Submitted | Exception]:
    async with opened(place) as store:
        specs = [commands.get(request.command) for request in requests]
        now = store.now()
        return await store.submit(
            [resolve(request, spec.spec if spec else None, now) for request, spec in zip(requests, specs, strict=True)],
            together=len(requests) > 1,
        )
