"""What clients may ask about the daemon: its commands, its health, and to pause, reload, restart and stop."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.model.errors import RequestError
from stoker.router.house import House


class Name(msgspec.Struct, forbid_unknown_fields=True):
    name: str


async def ping(_house: House, _role: str, _params: Any) -> str:
    """Whether somebody is there."""
    return "pong"


async def pause(house: House, _role: str, params: Name) -> list[str]:
    """Start nothing more of a command, a product, or ``*``; what is paused now."""
    known = {"*", *house.pool.commands, *(name.partition(".")[0] for name in house.pool.commands)}
    if params.name not in known:
        raise RequestError(f"{params.name!r} is neither a command nor a product, nor '*' for everything")
    await house.store.pause(params.name)
    house.claimer.paused = await house.store.pauses()
    return sorted(house.claimer.paused)


async def resume(house: House, _role: str, params: Name) -> list[str]:
    """Take a pause back; what is still paused."""
    if not await house.store.resume(params.name):
        raise RequestError(f"{params.name!r} is not paused")
    house.claimer.paused = await house.store.pauses()
    house.claimer.wake()
    return sorted(house.claimer.paused)


async def commands(house: House, _role: str, _params: Any) -> list[dict[str, Any]]:
    """What can be called: names, types, limits, and who may."""
    return [
        {
            "name": spec.name,
            "doc": spec.doc,
            "schema": spec.schema,
            "isolation": str(spec.isolated(house.pool.default)),
            "timeout": spec.timeout,
            "memory": spec.memory,
            "retries": spec.backoff.retries,
            "priority": spec.priority,
            "wait": spec.wait,
            "callers": list(spec.callers),
            "labels": list(spec.labels),
            "role": spec.role,
        }
        for _, spec in sorted(house.pool.commands.items())
    ]


async def reload(house: House, _role: str, _params: Any) -> dict[str, Any]:
    """Load the application anew; answered when the new code is in force, or why it cannot be."""
    await house.life.reload()
    return {"commands": sorted(house.pool.commands)}


async def restart(house: House, _role: str, _params: Any) -> str:
    """Every process anew."""
    house.life.ask_restart()
    return "restarting"


async def stop(house: House, _role: str, _params: Any) -> str:
    """Let running jobs end, then leave."""
    house.life.ask_stop()
    return "stopping"
