"""Roles as clients see them."""

from __future__ import annotations

import msgspec

from stoker.model.role import Role, View
from stoker.wire.records import iso


class RoleRecord(msgspec.Struct, frozen=True):
    """A role. ``state`` is ``held``, ``free``, or ``silent``: it has a holder that is not heard of any more."""

    name: str
    state: str
    node: str | None
    """Who holds it, or held it last."""
    boot: str | None
    term: int
    since: str | None
    """Since when it is held, or free."""
    wanted: str | None


class TakerRecord(msgspec.Struct, frozen=True):
    """A node that takes roles."""

    name: str
    boot: str
    host: str
    pid: int
    roles: tuple[str, ...]
    since: str
    heartbeat: str
    alive: bool
    seeks: bool
    """Whether it takes more: not while it is cordoned or stops."""


class OwnRoles(msgspec.Struct, frozen=True):
    """What the asked node holds, in the order of ``names``, those of its settings."""

    node: str
    names: tuple[str, ...]
    mine: tuple[str, ...]


class RolesRecord(msgspec.Struct, frozen=True):
    """``mine`` are those that the asked node holds, by its own clock; ``names`` are those of its settings."""

    node: str
    policy: str
    names: tuple[str, ...]
    mine: tuple[str, ...]
    roles: tuple[RoleRecord, ...]
    nodes: tuple[TakerRecord, ...]


def roles_record(
    view: View, *, node: str, policy: str, names: tuple[str, ...], mine: frozenset[str], alone: bool
) -> RolesRecord:
    """``alone``: the store is one daemon's, so nothing in it can run out."""
    there = {role.name: role for role in view.roles}
    order = [*names, *sorted(there.keys() - set(names))]
    takers = tuple(
        TakerRecord(
            peer.node, peer.boot, peer.host, peer.pid,
            tuple(name for name in order if name in there and there[name].owner == peer.boot),
            iso(peer.since) or "", iso(view.now if alone else peer.seen) or "",
            alone or not peer.silent(view.now), peer.seeks,
        )
        for peer in view.peers
    )  # fmt: skip
    return RolesRecord(
        node, policy, names, tuple(name for name in order if name in mine),
        tuple(_role(name, there.get(name), view.now, alone) for name in order), takers,
    )  # fmt: skip


def _role(name: str, role: Role | None, now: float, alone: bool) -> RoleRecord:
    if role is None:
        return RoleRecord(name, "free", None, None, 0, None, None)
    lapsed = not alone and role.until < now
    state = "free" if role.owner is None else "silent" if lapsed else "held"
    return RoleRecord(
        name, state, role.node or None, role.owner, role.term, iso(role.since), role.wanted or None
    )  # fmt: skip
