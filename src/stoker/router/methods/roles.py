"""What clients may ask about roles: who holds what, and that somebody else should."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.model.errors import RequestError, WrongState
from stoker.model.role import ANYONE
from stoker.router.house import House
from stoker.wire.roles import OwnRoles, RolesRecord, roles_record


class MoveRole(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    node: str = ANYONE


async def roles(house: House, _role: str, _params: Any) -> RolesRecord:
    """Every role with its holder and term, and every node that takes roles."""
    now = house.settings()
    return roles_record(
        await house.roles.view(), node=now.node, policy=now.roles.policy, names=now.roles.names,
        mine=house.roles.mine(), alone=house.roles.alone,
    )  # fmt: skip


async def my_roles(house: House, _role: str, _params: Any) -> OwnRoles:
    """What this node holds at this moment, by its own clock: asks no store."""
    now = house.settings()
    mine = house.roles.mine()
    return OwnRoles(now.node, now.roles.names, tuple(name for name in now.roles.names if name in mine))


async def role_move(house: House, _role: str, params: MoveRole) -> RolesRecord:
    """Have a role's holder give it back as soon as nothing of it runs there, for a node of this name, or for any other
    one. Raises :class:`WrongState` when nobody could take it."""
    names = house.settings().roles.names
    if params.role not in names:
        known = f"there are {', '.join(names)}" if names else "[roles] names none"
        raise RequestError(f"there is no role {params.role!r}; {known}")
    if not await house.roles.move(params.role, params.node):
        whom = "no other node" if params.node == ANYONE else f"no node {params.node!r} that does not hold it"
        raise WrongState(f"{params.role} stays where it is: {whom} is there to take it; see `stoker roles`")
    return await roles(house, _role, None)
