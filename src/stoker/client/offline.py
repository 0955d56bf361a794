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
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from stoker.model.command import Command
from stoker.model.errors import AlreadyRunning
from stoker.model.job import Submitted
from stoker.model.request import Request, resolve
from stoker.settings import Settings
from stoker.store import address
from stoker.store.base import Counts, Store
from stoker.wire.endpoint import make_private_folder

T = TypeVar("T")


@contextmanager
def held(path: Path | None) -> Iterator[None]:
    """Hold the store in this file alone; a server (None) needs no holding, many work on it. Raises
    :class:`AlreadyRunning` when somebody else has the file."""
    if path is None:
        yield
        return
    make_private_folder(path.parent)
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"another daemon works on {path}; a store belongs to one daemon at a time") from None
        yield
    finally:
        os.close(fd)


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
