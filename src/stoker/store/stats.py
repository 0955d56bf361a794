"""Figures over time, as a store keeps them: what a node measured in each period."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import msgspec

PAGE_MAX = 10_000
"""Periods that one look gives at most."""


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """One period of one node. ``at`` is when it ended, by the store's clock, ``seconds`` how long it was; ``data`` is
    JSON that the store does not read."""

    at: float
    boot: str
    node: str
    seconds: float
    data: bytes


class Stats(Protocol):
    """Short periods for as long as they are wanted, coarse ones for longer. Nothing here is worth waiting for: what a
    crash takes with it is not missed."""

    def keep(self, boot: str, node: str, seconds: float, data: bytes, *, coarse: bool) -> Awaitable[None]:
        """Store the period that ends now."""

    def since(
        self, at: float, *, coarse: bool, node: str | None = None, limit: int = PAGE_MAX
    ) -> Awaitable[list[Period]]:
        """The periods that ended after ``at``, of all nodes or of one name, oldest first; the newest ``limit`` of
        them."""

    def forget(self, fine: float, coarse: float, limit: int = 1000) -> Awaitable[int]:
        """Delete short periods older than ``fine`` seconds and coarse ones older than ``coarse``, up to ``limit`` of
        each; how many went of the kind of which more did."""
