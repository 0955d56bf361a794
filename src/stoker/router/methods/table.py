"""What clients may ask: one table of methods, each with the shape of its parameters and the roles that may call it.

A name with a dot is not in the table: it is a command, and calling it submits a job and waits for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from stoker.model.errors import NotAllowed, PayloadTooLarge, ProtocolError, UnknownMethod
from stoker.model.request import Request
from stoker.router.house import House
from stoker.router.methods import daemon, jobs, monitors, nodes, people, pools, roles, schedules, scope, stats
from stoker.router.methods.schema import Schemas, described
from stoker.wire.messages import Who

T = TypeVar("T")

SCRIPT = ("script", "job")
EVERYONE = ("script", "web", "job")


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters."""


class Method(msgspec.Struct, frozen=True):
    """``run(house, role, params)`` answers with anything msgspec can write. ``scope`` is what the parameters of a call
    by the bridge become, or why it is refused: see :mod:`stoker.router.methods.scope`."""

    params: type[Any]
    run: Callable[[House, str, Any], Awaitable[Any]]
    roles: tuple[str, ...] = SCRIPT
    scope: Callable[[House, Who | None, Any], Awaitable[Any]] | None = None


async def methods(_house: House, _role: str, _params: Nothing) -> dict[str, list[str]]:
    """The methods of the daemon itself, by the roles that may call them."""
    may = {name: method.roles for name, method in TABLE.items()} | ON_THE_LINE
    known = sorted({role for allowed in may.values() for role in allowed})
    return {role: sorted(name for name, allowed in may.items() if role in allowed) for role in known}


async def schema(_house: House, role: str, _params: Nothing) -> Schemas:
    """The methods that the caller's role may call: what each does, and its parameters as JSON Schema."""
    return described({name: (method.params, method.run) for name, method in TABLE.items() if role in method.roles})


TABLE: dict[str, Method] = {
    "ping": Method(Nothing, daemon.ping, EVERYONE),
    "submit": Method(Request, jobs.submit, EVERYONE, scope.own_request),
    "submit_many": Method(jobs.Many, jobs.submit_many),
    "job": Method(jobs.One, jobs.job, EVERYONE, scope.own_job),
    "jobs": Method(jobs.Listing, jobs.jobs, EVERYONE, scope.own_listing),
    "wait": Method(jobs.Wait, jobs.wait, EVERYONE, scope.own_job),
    "events": Method(jobs.Events, jobs.events, EVERYONE, scope.own_job),
    "cancel": Method(jobs.Cancel, jobs.cancel, EVERYONE, scope.own_job),
    "retry": Method(jobs.One, jobs.retry, EVERYONE, scope.own_retry),
    "send_to_all": Method(people.SendToAll, people.send_to_all),
    "notify_now": Method(people.NotifyNow, people.notify_now),
    "messages": Method(people.Messages, people.messages, ("script", "web"), people.own_messages),
    "clients": Method(Nothing, people.clients, ("script",)),
    "pause": Method(daemon.Name, daemon.pause),
    "resume": Method(daemon.Name, daemon.resume),
    "commands": Method(Nothing, daemon.commands, EVERYONE),
    "methods": Method(Nothing, methods, EVERYONE),
    "schema": Method(Nothing, schema, EVERYONE),
    "nodes": Method(Nothing, nodes.nodes),
    "cordon": Method(nodes.Cordon, nodes.cordon),
    "roles": Method(Nothing, roles.roles),
    "my_roles": Method(Nothing, roles.my_roles),
    "role_move": Method(roles.MoveRole, roles.role_move, ("script",)),
    "schedules": Method(schedules.Listed, schedules.schedules),
    "schedule_next": Method(schedules.Coming, schedules.schedule_next),
    "schedule_why": Method(schedules.OneSchedule, schedules.schedule_why),
    "schedule_run": Method(schedules.OneSchedule, schedules.schedule_run),
    "schedule_pause": Method(schedules.OneSchedule, schedules.schedule_pause),
    "schedule_resume": Method(schedules.OneSchedule, schedules.schedule_resume),
    "schedule_slots": Method(schedules.Slots, schedules.schedule_slots),
    "monitors": Method(monitors.Watched, monitors.monitors),
    "calendar": Method(monitors.Span, monitors.calendar),
    "heartbeat": Method(monitors.Heartbeat, monitors.heartbeat, EVERYONE, monitors.trusted),
    "pools": Method(Nothing, pools.pools),
    "pool_set": Method(pools.SetPool, pools.pool_set, ("script",)),
    "stats": Method(Nothing, stats.stats),
    "sys_stats": Method(Nothing, stats.sys_stats),
    "stats_history": Method(stats.History, stats.stats_history),
    "getSystemInfo": Method(Nothing, stats.system_info),
    "getWorkerPings": Method(Nothing, stats.worker_pings),
    "health": Method(Nothing, stats.health),
    "metrics": Method(Nothing, stats.metrics),
    "command_stats": Method(Nothing, stats.command_stats),
    "reload": Method(Nothing, daemon.reload, ("script",)),
    "restart": Method(Nothing, daemon.restart, ("script",)),
    "stop": Method(Nothing, daemon.stop, ("script",)),
}


ON_THE_LINE: dict[str, tuple[str, ...]] = {
    "subscribe": ("script", "web"),
    "unsubscribe": ("script", "web"),
    "attach": ("web",),
    "detach": ("web",),
}
"""Methods of a connection (:mod:`stoker.router.clients.seat`), and the roles that may call them."""


def read(kind: type[T], raw: msgspec.Raw) -> T:
    """Parameters of the right shape. Raises :class:`ProtocolError` naming the field."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ProtocolError(f"wrong parameters: {error}") from None
    except RecursionError:
        raise PayloadTooLarge("the parameters are nested too deep") from None


def check_role(name: str, role: str, roles: tuple[str, ...]) -> None:
    """Raises :class:`NotAllowed` for a role that may not call the method."""
    if role not in roles:
        raise NotAllowed(f"{name} may be called by {' and '.join(roles)}, not by {role}")


async def answer(
    house: House, role: str, name: str, params: msgspec.Raw, wait: bool | None, who: Who | None = None
) -> Any:
    """Carry out what a client asks. Raises a StokerError that says why not."""
    who = scope.checked(who, role)
    method = TABLE.get(name)
    if method is None:
        if "." in name:
            return await jobs.call(house, role, name, params, wait, who)
        raise UnknownMethod(f"there is no method {name!r}; `methods` lists them, commands are called product.name")
    check_role(name, role, method.roles)
    asked = read(method.params, params)
    if role == "web" and method.scope is not None:
        asked = await method.scope(house, who, asked)
    return await method.run(house, role, asked)
