"""Fair shares of the slots that all products use: reserved slots and weights.

A product first gets what is reserved for it, then up to its weight's part of the rest, those that are furthest behind
theirs first. Who turns out to have nothing waiting is left out of the next round, in which the others share what it
left, until nobody waits or nothing is free. Where no product asks for a share there is one claim for all, by priority
and age alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from stoker.model.pool import PoolSpec
from stoker.store.base import Quota


class Portion(NamedTuple):
    """One claim: at most ``total`` jobs of these commands, all of one product if that is named."""

    quotas: list[Quota]
    total: int
    product: str | None = None


def are_asked_for(pools: Iterable[PoolSpec]) -> bool:
    """Whether any product has a share of its own."""
    return any(pool.reserved or pool.weight != 1 for pool in pools)


def portions(
    quotas: Sequence[Quota], room: int, slots: int, held: Mapping[str, int], pools: Mapping[str, PoolSpec]
) -> list[Portion]:
    """The claims for ``room`` of ``slots`` slots, one for each product; together no more than there is room for."""
    by_product: dict[str, list[Quota]] = {}
    for quota in quotas:
        by_product.setdefault(quota.command.partition(".")[0], []).append(quota)
    free = room - sum(_missing(pool, held) for pool in pools.values())
    behind = _behind(by_product, slots, held, pools)
    found = []
    for product in sorted(by_product, key=lambda product: -behind[product]):
        share = min(max(0, free), max(0, math.ceil(behind[product])))
        total = min(room, share + _missing(pools[product], held))
        if total > 0:
            own = [msgspec.structs.replace(quota, room=min(quota.room, total)) for quota in by_product[product]]
            found.append(Portion(own, total, product))
            room, free = room - total, free - share
    return found


def _behind(
    products: Iterable[str], slots: int, held: Mapping[str, int], pools: Mapping[str, PoolSpec]
) -> dict[str, float]:
    """How many slots each is short of its part of those that are not reserved."""
    shared = max(0, slots - sum(pool.reserved for pool in pools.values() if pool.enabled))
    weights = sum(pools[product].weight for product in products)
    return {
        product: shared * pools[product].weight / weights - max(0, held.get(product, 0) - pools[product].reserved)
        for product in products
    }


def _missing(pool: PoolSpec, held: Mapping[str, int]) -> int:
    """Reserved slots that their product has not taken."""
    return max(0, pool.reserved - held.get(pool.product, 0)) if pool.enabled else 0
