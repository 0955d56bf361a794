"""Roles on a server: each call is one statement, so nothing is held while anything is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from stoker.model.role import Candidate, Holding, Taken, View
from stoker.store.postgres.session import Db, Readers

Do = Callable[[Callable[[Db], Awaitable[Any]]], "asyncio.Future[Any]"]
_view = msgspec.json.Decoder(View)


class PostgresRoles:
    """See :class:`stoker.store.roles.Roles`."""

    def __init__(self, do: Do, readers: Readers) -> None:
        self._do = do
        self._readers = readers

    def hold(self, me: Candidate, held: Sequence[Holding]) -> asyncio.Future[View]:
        names, terms = [one.name for one in held], [one.term for one in held]

        async def hold(db: Db) -> View:
            return _view.decode(
                await db.value(
                    "role_hold", me.boot, me.node, me.host, me.pid, me.reap_after, me.claim_after, me.seeks, names,
                    terms,
                )
            )  # fmt: skip

        return self._do(hold)

    def claim(self, me: Candidate, names: Sequence[str], dead: Sequence[str] = ()) -> asyncio.Future[list[Taken]]:
        wanted, gone = sorted(set(names)), list(dead)

        async def claim(db: Db) -> list[Taken]:
            found = await db.all("role_claim", me.boot, me.node, me.reap_after, me.claim_after, wanted, gone)
            return sorted((Taken(*row) for row in found), key=lambda one: one.name)

        return self._do(claim)

    def release(self, boot: str, held: Sequence[Holding]) -> asyncio.Future[list[str]]:
        names, terms = [one.name for one in held], [one.term for one in held]

        async def release(db: Db) -> list[str]:
            return [row[0] for row in await db.all("role_release", boot, names, terms)]

        return self._do(release)

    def leave(self, boot: str) -> asyncio.Future[list[str]]:
        async def leave(db: Db) -> list[str]:
            async with db.together():
                await db.all("role_forget", boot)
                return [row[0] for row in await db.all("role_release", boot, None, None)]

        return self._do(leave)

    def reap(self, boot: str) -> asyncio.Future[bool]:
        async def reap(db: Db) -> bool:
            return bool(await db.value("role_reap", boot))

        return self._do(reap)

    def order(self, name: str, wanted: str) -> asyncio.Future[bool]:
        async def order(db: Db) -> bool:
            return bool(await db.all("role_order", name, wanted))

        return self._do(order)

    async def view(self) -> View:
        async def look(db: Db) -> View:
            return _view.decode(await db.value("role_view"))

        found: View = await self._readers.read(look)
        return found
