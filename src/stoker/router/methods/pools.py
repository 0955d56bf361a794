"""What clients may ask about pools."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

from stoker.model.errors import RequestError
from stoker.model.pool import RUNNING
from stoker.model.stats import WorkerInfo
from stoker.router.house import House
from stoker.router.pools.record import NOTHING, pool_record, spec_record


class SetPool(msgspec.Struct, forbid_unknown_fields=True):
    product: str
    options: dict[str, Any]


async def pools(house: House, _role: str, _params: Any) -> list[dict[str, Any]]:
    """Every product's pool: its limits, its workers now, and why it takes nothing if it does not; then the residents
    that products without workers of their own share. Every worker is asked how it is."""
    return records(house, {info.pid: info for info in await house.sampler.workers()})


async def pool_set(house: House, _role: str, params: SetPool) -> dict[str, Any]:
    """Change limits of a product's pool until the next start; the pool as it is then."""
    known = house.pool.lanes.pools
    if params.product not in known:
        near = difflib.get_close_matches(params.product, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise RequestError(f"no application registers the product {params.product!r}{hint}")
    late = sorted(params.options.keys() - set(RUNNING))
    if late:
        raise RequestError(f"{', '.join(late)} cannot be changed while running; these can: {', '.join(RUNNING)}")
    try:
        house.pool.set(params.product, params.options)
    except ValueError as error:
        raise RequestError(f"{params.product}: {error}") from None
    return next(record for record in records(house) if record["product"] == params.product)


def records(house: House, infos: Mapping[int | None, WorkerInfo] = NOTHING) -> list[dict[str, Any]]:
    """Pools with workers, those without, and the shared residents."""
    shown = {
        residents.spec.product: pool_record(residents, infos)
        for residents in house.pool.pools
        if residents.spec.product
    }
    idle: dict[str, Any] = {"live": 0, "busy": 0, "waiting": 0, "replaced": 0, "broken": None, "processes": []}
    found = []
    for product, spec in sorted(house.pool.lanes.pools.items()):
        plain = {**spec_record(spec), **idle, "why": None if spec.enabled else "disabled"}
        found.append({**shown.get(product, plain), "consumers": house.pool.consumers.by_product[product]})
    shared = [pool_record(residents, infos) for residents in house.pool.pools if not residents.spec.product]
    return [*found, *({**record, "consumers": 0} for record in shared)]
