"""A node: one daemon among those that share a store, from its start to its end.

Every start is a new node with a fresh ``boot`` id, whatever its name: a name is for people (it stays, and so does what
is said about it: see *cordon*), the boot is what owns leases. The roster has one row for each, with its heartbeat.

*Cordoned* is said of a name: such nodes begin no new jobs until it is taken back, also after a restart. *Draining* is
nothing more than cordoning and waiting until nothing runs there.
"""

from __future__ import annotations

import msgspec


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself with each heartbeat. ``seconds`` is how long it counts as alive without another."""

    boot: str
    name: str
    host: str
    pid: int
    version: str
    labels: tuple[str, ...] = ()
    slots: int = 0
    running: int = 0
    seconds: float = 30.0


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A node as the roster knows it. Times are seconds since the epoch, by the store's clock."""

    boot: str
    name: str
    host: str
    pid: int
    version: str
    labels: tuple[str, ...]
    slots: int
    running: int
    started: float
    heartbeat: float
    alive: bool
    """Whether its last heartbeat is recent enough."""
    cordoned: bool
