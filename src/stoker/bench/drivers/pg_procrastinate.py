"""Procrastinate, for ``pg_peer.py``: jobs as coroutines, the concurrency that was found best."""

from __future__ import annotations

from typing import Self

import procrastinate

CONCURRENCY = 10
CHUNK = 1000


class Procrastinate:
    ENDED = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
    HOW = f"concurrency {CONCURRENCY}"

    def __init__(self, url: str) -> None:
        connector = procrastinate.PsycopgConnector(conninfo=url, min_size=CONCURRENCY, max_size=CONCURRENCY + 2)
        self._app = procrastinate.App(connector=connector)

        @self._app.task(name="noop")
        async def noop() -> None:
            pass

        self._noop = noop

    async def __aenter__(self) -> Self:
        await self._app.open_async()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._app.close_async()

    async def install(self) -> None:
        await self._app.schema_manager.apply_schema_async()

    async def fill(self, count: int) -> None:
        for start in range(0, count, CHUNK):
            await self._noop.batch_defer_async(*[{}] * min(CHUNK, count - start))

    async def drain(self) -> None:
        await self._app.run_worker_async(concurrency=CONCURRENCY, wait=False, install_signal_handlers=False)
