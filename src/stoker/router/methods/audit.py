"""What clients may ask about who did what."""

from __future__ import annotations

import msgspec

from stoker.router.house import House
from stoker.router.methods.moments import read_moment
from stoker.store.audit import AUDIT_MAX
from stoker.wire.audit import AuditRecord, audit_record
from stoker.wire.messages import Offset


class Audited(msgspec.Struct, forbid_unknown_fields=True):
    since: str | None = None
    user: str | None = None
    name: str | None = None
    before: Offset | None = None
    limit: int = 100


async def audit(house: House, _role: str, params: Audited) -> list[AuditRecord]:
    """Who did what, newest first: of one user, of the method of a name; ``before`` is the ``seq`` of the last row of
    the page before."""
    since = 0.0 if params.since is None else read_moment("since", params.since)
    limit = max(1, min(params.limit, AUDIT_MAX))
    found = await house.store.audit.page(
        since=since, before=params.before, user=params.user, method=params.name, limit=limit
    )
    return [audit_record(one) for one in found]
