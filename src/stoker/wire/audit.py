"""Who did what, as clients see it."""

from __future__ import annotations

import msgspec

from stoker.model.audit import Done
from stoker.wire.records import iso


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person or a program did. ``at`` is ISO 8601 in UTC; ``before`` and ``after`` is how ``object``
    stood, where that is known."""

    seq: int
    at: str
    node: str
    role: str
    user: str | None
    """For whom the bridge asked; and what they may do."""
    level: str | None
    uid: int | None
    """The user on the other end of the Unix socket."""
    method: str
    object: str
    before: str | None
    after: str | None
    reason: str | None


def audit_record(done: Done) -> AuditRecord:
    return AuditRecord(
        seq=done.seq, at=iso(done.at) or "", node=done.node, role=done.role, user=done.user, level=done.level,
        uid=done.uid, method=done.method, object=done.object, before=done.before, after=done.after, reason=done.reason,
    )  # fmt: skip
