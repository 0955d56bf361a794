"""Roles on one file. Several daemons never share it, and yet the rules are those of every store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from stoker.model.role import Candidate, Holding, Peer, Role, Taken, View
from stoker.store.sqlite.connection import Connection
from stoker.store.sqlite.writer import Worker


class SqliteRoles:
    """See :class:`stoker.store.roles.Roles`."""

    def __init__(self, writer: Worker, reader: Worker, now: Callable[[], float]) -> None:
        self._writer = writer
        self._reader = reader
        self._now = now

    def hold(self, me: Candidate, held: Sequence[Holding]) -> asyncio.Future[View]:
        mine = list(held)
        return self._writer.do(lambda db: _hold(db, me, mine, self._now()))

    def claim(self, me: Candidate, names: Sequence[str], dead: Sequence[str] = ()) -> asyncio.Future[list[Taken]]:
        wanted, gone = sorted(set(names)), frozenset(dead)
        return self._writer.do(lambda db: _claim(db, me, wanted, gone, self._now()))

    def release(self, boot: str, held: Sequence[Holding]) -> asyncio.Future[list[str]]:
        mine = list(held)
        return self._writer.do(lambda db: _release(db, boot, mine, self._now()))

    def leave(self, boot: str) -> asyncio.Future[list[str]]:
        return self._writer.do(lambda db: _leave(db, boot, self._now()))

    def reap(self, boot: str) -> asyncio.Future[bool]:
        return self._writer.do(lambda db: _reap(db, boot, self._now()))

    def order(self, name: str, wanted: str) -> asyncio.Future[bool]:
        def order(db: Connection) -> bool:
            db.all("role_order", name, wanted)
            return db.changes() > 0

        return self._writer.do(order)

    def view(self) -> asyncio.Future[View]:
        return self._reader.do(lambda db: _view(db, self._now()))


def _hold(db: Connection, me: Candidate, held: list[Holding], now: float) -> View:
    db.all("role_seen", me.boot, me.node, me.host, me.pid, now, me.reap_after, int(me.seeks))
    for one in held:
        db.all("role_extend", one.name, one.term, me.boot, now + me.reap_after, now + me.claim_after)
    return _view(db, now)


def _claim(db: Connection, me: Candidate, names: list[str], dead: frozenset[str], now: float) -> list[Taken]:
    taken = []
    for name in names:
        db.all("role_make", name, now)
        row = db.one("role_get", name)
        assert row is not None
        term, owner, node, until = cast("tuple[int, str | None, str, float]", row)
        if owner is None or owner == me.boot or owner in dead or until < now:
            db.all("role_take", name, me.boot, me.node, now, now + me.reap_after, now + me.claim_after)
            taken.append(Taken(name, term + 1, owner, node))
    return taken


def _release(db: Connection, boot: str, held: list[Holding], now: float) -> list[str]:
    released = []
    for one in held:
        db.all("role_release", one.name, one.term, boot, now)
        if db.changes():
            released.append(one.name)
    return released


def _leave(db: Connection, boot: str, now: float) -> list[str]:
    db.all("role_forget", boot)
    return sorted(str(row[0]) for row in db.all("role_leave", boot, now))


def _reap(db: Connection, boot: str, now: float) -> bool:
    db.all("role_forget_silent", boot, now)
    if not db.changes():
        return False
    db.all("role_leave", boot, now)
    return True


def _view(db: Connection, now: float) -> View:
    roles = [_role(cast("tuple[Any, ...]", row)) for row in db.all("roles")]
    return View(now, roles, [_peer(cast("tuple[Any, ...]", row)) for row in db.all("role_nodes")])


def _role(row: tuple[Any, ...]) -> Role:
    name, term, owner, node, since, reap_at, until, wanted = row
    return Role(
        name=name, term=term, owner=owner, node=node, since=since, reap_at=reap_at, until=until, wanted=wanted
    )  # fmt: skip


def _peer(row: tuple[Any, ...]) -> Peer:
    boot, node, host, pid, since, seen, reap_after, seeks = row
    return Peer(
        boot=boot, node=node, host=host, pid=pid, since=since, seen=seen, reap_after=reap_after, seeks=bool(seeks)
    )  # fmt: skip
