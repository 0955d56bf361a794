"""Which roles this machine's daemon holds: for handlers and scripts."""

from __future__ import annotations

from stoker.client import default
from stoker.wire.roles import OwnRoles


def get_worker_name() -> str | None:
    """The role that this node holds, None while it holds none; of several, the first in the order of the settings.

    Raises :class:`~stoker.model.errors.DaemonError` when no daemon answers.
    """
    mine = _roles().mine
    return mine[0] if mine else None


def is_primary_worker(role: str | None = None) -> bool:
    """Whether this node holds a role; without a name the first one of the settings, which makes its holder the primary
    worker. True of one node at most, at any moment. Raises as :func:`get_worker_name`."""
    found = _roles()
    wanted = role if role is not None else next(iter(found.names), None)
    return wanted in found.mine


def _roles() -> OwnRoles:
    answer: OwnRoles = default.client().ask("my_roles", OwnRoles)
    return answer
