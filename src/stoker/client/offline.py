"""Submitting while no daemon runs: straight into the store, so that nothing is lost; it runs when one starts.

Only when nobody holds the store: one writing process a file is what keeps SQLite fast and fair, so while a daemon is
starting or stopping its client waits for the socket instead.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from stoker.model.command import Command
from stoker.model.errors import AlreadyRunning
from stoker.model.job import Submitted
from stoker.model.request import Request, resolve
from stoker.settings import Settings
from stoker.store.address import store_at
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


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end and return what it returns, also where an event loop runs in this thread already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _submit(
    address: str, requests: Sequence[Request], commands: Mapping[str, Command[..., Any]]
) -> list[Submitted | Exception]:
    store = store_at(address)
    await store.open()
    try:
        specs = [commands.get(request.command) for request in requests]
        now = store.now()
        return await store.submit(
            [resolve(request, spec.spec if spec else None, now) for request, spec in zip(requests, specs, strict=True)],
            together=len(requests) > 1,
        )
    finally:
        await store.close()
