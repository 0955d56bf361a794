"""PgQueuer, for ``pg_peer.py``: all its tables logged, and the batch that was found best."""

from __future__ import annotations

from typing import Self

import asyncpg
from pgqueuer.core.qm import QueueManager
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

NAME = "noop"
BATCH = 500
CHUNK = 5000


class PgQueuer:
    ENDED = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"
    HOW = f"batch {BATCH}"

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._db = await asyncpg.connect(self._url)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._db.close()

    async def install(self) -> None:
        await Queries(AsyncpgDriver(self._db)).install()

    async def fill(self, count: int) -> None:
        queries = Queries(AsyncpgDriver(self._db))
        for start in range(0, count, CHUNK):
            some = min(CHUNK, count - start)
            await queries.enqueue([NAME] * some, [None] * some, [0] * some)

    async def drain(self) -> None:
        manager = QueueManager(Queries(AsyncpgDriver(self._db)))

        @manager.entrypoint(NAME)
        async def noop(job: Job) -> None:
            pass

        await manager.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
