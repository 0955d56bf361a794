"""The clients of this project's daemon, made at their first use: one per process, and one for its coroutines."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from stoker.client.sync import Client

if TYPE_CHECKING:
    from stoker.client.aio import AsyncClient


@functools.cache
def client() -> Client:
    return Client()


@functools.cache
def async_client() -> AsyncClient:
    # not at the top: asyncio makes every fork of an application that does not use it slower (measured: 0.2 ms)
    from stoker.client.aio import AsyncClient

    return AsyncClient()
