"""What the bridge asks about proofs of who somebody is: use one up, take some back, and which were taken back."""

from __future__ import annotations

import math

import msgspec

from stoker.model.access import PROOF_LIFE_MAX
from stoker.model.audience import check_name, not_everybody
from stoker.model.errors import NotAllowed, RequestError
from stoker.router.house import House
from stoker.router.methods.scope import named
from stoker.store.proofs import Revocations
from stoker.wire.messages import Offset, Who


class Spend(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    life: float


class Revoke(msgspec.Struct, forbid_unknown_fields=True):
    user: str
    session: str | None = None

    @property
    def whose(self) -> str:
        return self.user if self.session is None else f"{self.user}/{self.session}"


class After(msgspec.Struct, forbid_unknown_fields=True):
    after: Offset = 0


async def spend(house: House, _role: str, params: Spend) -> bool:
    """Use up what is good once; true for the first who asks, on any node."""
    check_name("id", params.id)
    if not math.isfinite(params.life) or not 0 < params.life <= PROOF_LIFE_MAX:
        raise RequestError(f"life: from 0 to {PROOF_LIFE_MAX:g} seconds")
    return await house.store.proofs.spend(params.id, params.life)


async def revoke(house: House, _role: str, params: Revoke) -> None:
    """Take back what was given to a user until now, or to one of their sessions; on every node within five seconds."""
    check_name("user", params.user)
    not_everybody(params.user)
    if params.session is not None:
        check_name("session", params.session)
    await house.store.proofs.revoke(params.user, params.session, PROOF_LIFE_MAX)


async def own_session(_house: House, who: Who | None, params: Revoke) -> Revoke:
    """One's own, or, for an admin, anybody's."""
    if named(who).level != "admin" and params.user != named(who).user:
        raise NotAllowed("only an admin takes back what others were given")
    return params


async def revocations(house: House, _role: str, params: After) -> Revocations:
    """What was taken back, beyond a cursor."""
    return await house.store.proofs.revoked(params.after)
