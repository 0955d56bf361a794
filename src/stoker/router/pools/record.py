"""Pools and their workers as the outside sees them."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Mapping
from typing import Any

import msgspec

from stoker.model.pool import OPTIONS, PoolSpec
from stoker.model.stats import WorkerInfo
from stoker.router.pools.resident import Resident
from stoker.router.pools.residents import Residents

NOTHING: Mapping[int | None, WorkerInfo] = types.MappingProxyType({})


def spec_record(spec: PoolSpec) -> dict[str, Any]:
    """A pool's product and its options, and nothing that is only ours."""
    return {name: value for name, value in msgspec.to_builtins(spec).items() if name == "product" or name in OPTIONS}


def pool_record(pool: Residents, infos: Mapping[int | None, WorkerInfo] = NOTHING) -> dict[str, Any]:
    """A pool: its limits, and how it is now; of its workers also what was measured, by their pids."""
    return {
        **spec_record(pool.spec),
        "slots": pool.slots,
        "live": len(pool.live),
        "busy": sum(worker.active for worker in pool.workers),
        "waiting": len(pool.waiting),
        "replaced": pool.replaced,
        "broken": pool.broken,
        "why": pool.why() or pool.silence(),
        "processes": [worker_record(worker, infos.get(worker.pid)) for worker in pool.workers],
    }


def worker_record(worker: Resident, info: WorkerInfo | None) -> dict[str, Any]:
    """A worker that stays, and what it does."""
    return {
        "pid": worker.pid,
        "product": worker.product,
        "state": worker_state(worker),
        "activeJobs": worker.active,
        "assigned": worker.load,
        "done": worker.done,
        "age": round(asyncio.get_running_loop().time() - worker.born_at, 3),
        **({} if info is None else msgspec.to_builtins(info)),
    }


def worker_state(worker: Resident) -> str:
    """``starting``, ``ready`` or ``leaving``."""
    if not worker.ready:
        return "starting"
    return "leaving" if worker.outgoing or worker.released else "ready"
