"""What clients may ask about the nodes: list them, and let them begin nothing new."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.model.errors import RequestError
from stoker.router.house import House
from stoker.wire.records import NodeRecord, node_record


class Cordon(msgspec.Struct, forbid_unknown_fields=True):
    node: str
    cordoned: bool = True


async def nodes(house: House, _role: str, _params: Any) -> list[NodeRecord]:
    """All nodes that share the store, and those that did within a day; this one's row is as of now."""
    await house.member.beat()
    return [node_record(node) for node in await house.store.nodes()]


async def cordon(house: House, _role: str, params: Cordon) -> list[NodeRecord]:
    """Let the nodes of a name begin no new jobs, or again; the nodes it concerns."""
    concerned = [node.name for node in await house.store.nodes()]
    if params.node not in concerned and (params.cordoned or not await house.store.uncordon(params.node)):
        known = ", ".join(sorted(set(concerned)))
        raise RequestError(f"there is no node {params.node!r}; there are {known}")
    if params.cordoned:
        await house.store.cordon(params.node)
    else:
        await house.store.uncordon(params.node)
    await house.member.beat()
    return [node_record(node) for node in await house.store.nodes() if node.name == params.node]
