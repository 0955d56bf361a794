"""What clients may ask: one table of methods, each with the shape of its parameters, the roles that may call it, and
the levels of people that the bridge may call it for.

A name with a dot is not in the table: it is a command, and calling it submits a job and waits for it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from stoker.model.access import BRIDGE, DOES, LEVELS, LOOKS, OWNS, RULES, SEES, WITHIN
from stoker.model.errors import NotAllowed, PayloadTooLarge, ProtocolError, UnknownMethod
from stoker.model.request import Request
from stoker.router.house import House
from stoker.router.methods import (
    acts,
    audit,
    daemon,
    jobs,
    monitors,
    nodes,
    people,
    pools,
    proofs,
    roles,
    schedules,
    scope,
    settings,
    stats,
)
from stoker.router.methods.acts import Act, Asker
from stoker.router.methods.schema import Schemas, described
from stoker.wire import records
from stoker.wire.messages import Who

T = TypeVar("T")

SCRIPT = ("script", "job")
ONLY_SCRIPT = ("script",)


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters."""


class Method(msgspec.Struct, frozen=True):
    """``run(house, role, params)`` answers with anything msgspec can write. ``local`` are the roles beside the bridge
    that may call it, ``levels`` the people that the bridge may call it for. ``scope`` is what the parameters of a call
    by the bridge become, or why it is refused: see :mod:`stoker.router.methods.scope`. With an ``act`` it is kept that
    somebody did it. ``outside`` is what becomes of an answer for somebody who does not see everything."""

    params: type[Any]
    run: Callable[[House, str, Any], Awaitable[Any]]
    local: tuple[str, ...] = SCRIPT
    scope: Callable[[House, Who | None, Any], Awaitable[Any]] | None = None
    levels: tuple[str, ...] = ()
    act: Act | None = None
    outside: Callable[[Any], Any] | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """Who may call it."""
        known = (*self.local, "web") if self.levels else self.local
        return tuple(role for role in ("script", "web", "job") if role in known)


async def methods(_house: House, _role: str, _params: Nothing) -> dict[str, list[str]]:
    """The methods of the daemon itself, by the roles that may call them."""
    may = {name: method.roles for name, method in TABLE.items()} | ON_THE_LINE
    known = sorted({role for allowed in may.values() for role in allowed})
    return {role: sorted(name for name, allowed in may.items() if role in allowed) for role in known}


async def schema(_house: House, role: str, _params: Nothing) -> Schemas:
    """The methods that the caller's role may call: what each does, its parameters as JSON Schema, and for whom."""
    mine = {name: method for name, method in TABLE.items() if role in method.roles}
    return described({name: (method.params, method.run, method.levels) for name, method in mine.items()})


TABLE: dict[str, Method] = {
    "ping": Method(Nothing, daemon.ping, levels=SEES),
    "submit": Method(Request, jobs.submit, SCRIPT, scope.own_request, DOES, acts.SUBMIT),
    "submit_many": Method(jobs.Many, jobs.submit_many),
    "job": Method(jobs.One, jobs.job, SCRIPT, scope.own_job, SEES, outside=records.outside),
    "jobs": Method(jobs.Listing, jobs.jobs, SCRIPT, scope.own_listing, SEES, outside=jobs.listed_outside),
    "wait": Method(jobs.Wait, jobs.wait, SCRIPT, scope.own_job, SEES, outside=records.outside),
    "events": Method(jobs.Events, jobs.events, SCRIPT, scope.own_job, SEES, outside=jobs.events_outside),
    "cancel": Method(jobs.Cancel, jobs.cancel, SCRIPT, scope.own_job, DOES, acts.CANCEL, outside=records.outside),
    "retry": Method(jobs.One, jobs.retry, SCRIPT, scope.own_retry, DOES, acts.RETRY, outside=records.outside),
    "send_to_all": Method(people.SendToAll, people.send_to_all, levels=RULES, act=acts.PUSH),
    "notify_now": Method(people.NotifyNow, people.notify_now, levels=RULES, act=acts.NOTIFY),
    "messages": Method(people.Messages, people.messages, ONLY_SCRIPT, people.own_messages, SEES),
    "clients": Method(Nothing, people.clients, ONLY_SCRIPT, levels=LOOKS),
    "pause": Method(daemon.Name, daemon.pause, levels=RULES, act=acts.PAUSE),
    "resume": Method(daemon.Name, daemon.resume, levels=RULES, act=acts.PAUSE),
    "commands": Method(Nothing, daemon.commands, levels=SEES),
    "methods": Method(Nothing, methods, levels=SEES),
    "schema": Method(Nothing, schema, levels=SEES),
    "nodes": Method(Nothing, nodes.nodes, levels=LOOKS),
    "cordon": Method(nodes.Cordon, nodes.cordon, levels=OWNS, act=acts.NODE),
    "roles": Method(Nothing, roles.roles, levels=LOOKS),
    "my_roles": Method(Nothing, roles.my_roles),
    "role_move": Method(roles.MoveRole, roles.role_move, ONLY_SCRIPT, levels=OWNS, act=acts.ROLE),
    "schedules": Method(schedules.Listed, schedules.schedules, levels=LOOKS),
    "schedule_next": Method(schedules.Coming, schedules.schedule_next, levels=LOOKS),
    "schedule_why": Method(schedules.OneSchedule, schedules.schedule_why, levels=LOOKS),
    "schedule_run": Method(schedules.OneSchedule, schedules.schedule_run, levels=RULES, act=acts.SCHEDULE_RUN),
    "schedule_pause": Method(schedules.OneSchedule, schedules.schedule_pause, levels=RULES, act=acts.SCHEDULE),
    "schedule_resume": Method(schedules.OneSchedule, schedules.schedule_resume, levels=RULES, act=acts.SCHEDULE),
    "schedule_slots": Method(schedules.Slots, schedules.schedule_slots, levels=LOOKS),
    "monitors": Method(monitors.Watched, monitors.monitors, levels=LOOKS),
    "calendar": Method(monitors.Span, monitors.calendar, levels=LOOKS),
    "heartbeat": Method(monitors.Heartbeat, monitors.heartbeat, levels=RULES),
    "pools": Method(Nothing, pools.pools, levels=LOOKS),
    "pool_set": Method(pools.SetPool, pools.pool_set, ONLY_SCRIPT, levels=OWNS, act=acts.POOL),
    "stats": Method(Nothing, stats.stats, levels=LOOKS),
    "sys_stats": Method(Nothing, stats.sys_stats, levels=LOOKS),
    "stats_history": Method(stats.History, stats.stats_history, levels=LOOKS),
    "getSystemInfo": Method(Nothing, stats.system_info, levels=LOOKS),
    "getWorkerPings": Method(stats.Pings, stats.worker_pings, levels=LOOKS),
    "health": Method(Nothing, stats.health, levels=LOOKS),
    "metrics": Method(Nothing, stats.metrics, levels=LOOKS),
    "command_stats": Method(Nothing, stats.command_stats, levels=LOOKS),
    "audit": Method(audit.Audited, audit.audit, ONLY_SCRIPT, levels=OWNS),
    "revoke": Method(proofs.Revoke, proofs.revoke, ONLY_SCRIPT, proofs.own_session, LEVELS, acts.REVOKE),
    "revocations": Method(proofs.After, proofs.revocations, (), levels=WITHIN),
    "spend": Method(proofs.Spend, proofs.spend, (), levels=WITHIN),
    "settings": Method(Nothing, settings.settings, ONLY_SCRIPT, levels=OWNS),
    "settings_set": Method(
        settings.SetSettings, settings.settings_set, ONLY_SCRIPT, settings.by_bridge, OWNS, acts.SETTINGS
    ),
    "reload": Method(Nothing, daemon.reload, ONLY_SCRIPT, levels=OWNS, act=acts.DAEMON),
    "restart": Method(Nothing, daemon.restart, ONLY_SCRIPT, levels=OWNS, act=acts.DAEMON),
    "stop": Method(Nothing, daemon.stop, ONLY_SCRIPT, levels=OWNS, act=acts.DAEMON),
}


ON_THE_LINE: dict[str, tuple[str, ...]] = {
    "subscribe": ("script", "web"),
    "unsubscribe": ("script", "web"),
    "attach": ("web",),
    "detach": ("web",),
    "streams": ("web",),
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


def check_level(name: str, who: Who | None, levels: tuple[str, ...]) -> None:
    """Raises :class:`NotAllowed` where the bridge asks for somebody who may not, or in nobody's name."""
    if (BRIDGE if who is None else who.level) in levels:
        return
    if who is None:
        raise NotAllowed(f"a call of {name} by the role web says for whom: `who`")
    *others, last = [level for level in levels if level != BRIDGE] or [""]
    several = f"{', '.join(others)} or {last}" if others else last
    needed = f"needs the level {several}" if last else "is for nobody but the bridge itself"
    raise NotAllowed(f"{name} {needed}; {who.user[:60]!r} is {who.level}")


async def answer(house: House, asker: Asker, name: str, params: msgspec.Raw, wait: bool | None) -> Any:
    """Carry out what a client asks. Raises a StokerError that says why not."""
    role, who = asker.role, scope.checked(asker.who, asker.role)
    method = TABLE.get(name)
    if method is None:
        if "." in name:
            if role == "web":
                check_level(name, who, DOES)
            return await jobs.call(house, role, name, params, wait, who)
        raise UnknownMethod(f"there is no method {name!r}; `methods` lists them, commands are called product.name")
    check_role(name, role, method.roles)
    if role == "web":
        check_level(name, who, method.levels)
    asked = read(method.params, params)
    if role == "web" and method.scope is not None:
        asked = await method.scope(house, who, asked)
    run = functools.partial(method.run, house, role, asked)
    found = await (run() if method.act is None else acts.kept(method.act, house, asker, name, asked, run))
    return found if method.outside is None or who is None or who.all else method.outside(found)
