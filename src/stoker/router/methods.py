"""What clients may ask: one table of methods, each with the shape of its parameters and the roles that may call it.

A name with a dot is not in the table: it is a command, and calling it submits a job and waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from stoker import failpoint
from stoker.model import ids
from stoker.model.errors import (
    JobCancelled,
    JobFailed,
    NotAllowed,
    PayloadTooLarge,
    ProtocolError,
    RequestError,
    UnknownMethod,
)
from stoker.model.job import Job, State, Submission, Submitted
from stoker.model.request import Request
from stoker.router import monitor_methods, schedule_methods
from stoker.router.explain import why
from stoker.router.house import House
from stoker.router.hub_methods import (
    Messages,
    NotifyNow,
    SendToAll,
    clients,
    messages,
    notify_now,
    own_messages,
    send_to_all,
)
from stoker.router.hub_pulse import JOBS
from stoker.router.hub_scope import checked, own_job, own_listing, own_request, own_retry
from stoker.router.member_methods import Cordon, cordon, nodes
from stoker.router.pools_methods import SetPool, pool_set, pools
from stoker.router.roles_methods import MoveRole, my_roles, role_move, roles
from stoker.router.schema_methods import Schemas, described
from stoker.router.stats_methods import History, stats_history, sys_stats, system_info, worker_pings
from stoker.store.base import Filter
from stoker.wire.messages import Offset, Who
from stoker.wire.records import EventRecord, JobRecord, event_record, job_record

T = TypeVar("T")

MANY_MAX = 10_000
"""Jobs in one bulk submission at most."""
WAIT_MAX = 7 * 86400.0

SCRIPT = ("script", "job")
EVERYONE = ("script", "web", "job")


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters."""


class Many(msgspec.Struct, forbid_unknown_fields=True):
    jobs: list[Request]


class One(msgspec.Struct, forbid_unknown_fields=True):
    job: str


class Wait(msgspec.Struct, forbid_unknown_fields=True):
    job: str
    seconds: float | None = None


class Cancel(msgspec.Struct, forbid_unknown_fields=True):
    job: str
    reason: str = "cancelled by a client"


class Listing(msgspec.Struct, forbid_unknown_fields=True):
    status: State | None = None
    command: str | None = None
    product: str | None = None
    user: str | None = None
    tag: str | None = None
    before: str | None = None
    limit: int = 10


class Events(msgspec.Struct, forbid_unknown_fields=True):
    job: str
    after: Offset = 0
    limit: int = 1000


class Name(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Method(msgspec.Struct, frozen=True):
    """``run(house, role, params)`` answers with anything msgspec can write. ``scope`` is what the parameters of a call
    by the bridge become, or why it is refused: see :mod:`.hub_scope`."""

    params: type[Any]
    run: Callable[[House, str, Any], Awaitable[Any]]
    roles: tuple[str, ...] = SCRIPT
    scope: Callable[[House, Who | None, Any], Awaitable[Any]] | None = None


async def ping(_house: House, _role: str, _params: Nothing) -> str:
    """Whether somebody is there."""
    return "pong"


async def submit(house: House, role: str, request: Request) -> Submitted:
    """Store a job; answered when it is on disk."""
    submission = house.admission.admit(request, role, house.store.now())
    (answer,) = await stored(house, [submission])
    if isinstance(answer, Exception):
        raise answer
    return answer


async def submit_many(house: House, role: str, params: Many) -> list[Submitted]:
    """Store many jobs in one transaction, all or none."""
    if len(params.jobs) > MANY_MAX:
        raise PayloadTooLarge(f"{len(params.jobs)} jobs at once; {MANY_MAX} are the most, send several batches")
    now = house.store.now()
    submissions = [house.admission.admit(request, role, now) for request in params.jobs]
    answers = await stored(house, submissions, together=True)
    return [answer for answer in answers if isinstance(answer, Submitted)]


async def stored(house: House, submissions: list[Submission], *, together: bool = False) -> list[Submitted | Exception]:
    """Into the store, and whatever has to be woken is."""
    future = house.store.submit(submissions, together=together)
    # the claim stands in line right behind: with a free slot, both share one commit
    house.claimer.wake({submission.command for submission in submissions})
    answers = await future
    failpoint.hit("after-submit")
    house.tally.submitted += sum(1 for a in answers if isinstance(a, Submitted) and a.created)
    if house.hub.pulses.wanted(JOBS):
        for one, made in zip(submissions, answers, strict=True):
            if isinstance(made, Submitted) and made.created:
                house.hub.pulses.job(made.id, State.NEW, one.command, one.user, born=True)
    later = [s.run_at for s in submissions if s.run_at is not None]
    if later:
        house.keeper.due_at(min(later))
    return answers


async def call(house: House, role: str, name: str, input: msgspec.Raw, wait: bool | None, who: Who | None) -> Any:
    """Submit a command and wait for its value; without waiting, the job's id."""
    spec = house.admission.spec(name)
    answer = await submit(house, role, await own_request(house, who, Request(command=name, input=input)))
    if not (spec.wait if wait is None else wait):
        return {"id": answer.id}
    job = await house.audience.ended(answer.id)
    match job.state:
        case State.COMPLETED:
            return msgspec.Raw(job.output or b"null")
        case State.CANCELLED:
            raise JobCancelled(f"{name} {job.id} was cancelled: {job.fault.message if job.fault else ''}")
    raise JobFailed(f"{name} {job.id} failed: {job.fault}")


async def job(house: House, _role: str, params: One) -> JobRecord:
    """One job, and why it waits if it does."""
    return await record(house, await house.store.get(ids.job_id(params.job)))


async def record(house: House, found: Job) -> JobRecord:
    spec = house.pool.commands.get(found.command)
    reason = await why(found, house.store, house.pool, house.claimer)
    return job_record(found, secret=spec.secret if spec else (), why=reason)


async def jobs(house: House, _role: str, params: Listing) -> list[JobRecord]:
    """A page of jobs, newest first; ``before`` is the id of the last one of the page before."""
    before = None if params.before is None else (await house.store.get(ids.job_id(params.before))).seq
    found = await house.store.jobs(
        Filter(
            state=params.status,
            command=params.command,
            product=params.product,
            user=params.user,
            tag=params.tag,
            before=before,
            limit=params.limit,
        )
    )
    commands = house.pool.commands
    return [job_record(j, secret=commands[j.command].secret if j.command in commands else ()) for j in found]


async def wait(house: House, _role: str, params: Wait) -> JobRecord:
    """The job when it has ended, or as it is after ``seconds``."""
    id = ids.job_id(params.job)
    seconds = WAIT_MAX if params.seconds is None else max(0.0, min(params.seconds, WAIT_MAX))
    try:
        return await record(house, await asyncio.wait_for(house.audience.ended(id), seconds))
    except TimeoutError:
        return await record(house, await house.store.get(id))


async def events(house: House, _role: str, params: Events) -> list[EventRecord]:
    """What a job said after a cursor."""
    found = await house.store.events(ids.job_id(params.job), params.after, params.limit)
    return [event_record(event) for event in found]


async def cancel(house: House, _role: str, params: Cancel) -> JobRecord:
    """End a waiting job now, a running one soon; an ended one is left as it is."""
    found = await house.store.cancel(ids.job_id(params.job), params.reason[:500])
    if found.state is State.RUNNING:
        # here, or by its owner as soon as that hears of it
        house.desk.cancel(found.id, found.cancel or params.reason)
    house.audience.nudge(found.id)
    house.hub.pulses.job(found.id, found.state, found.command, found.user)
    house.claimer.wake()
    return await record(house, found)


async def retry(house: House, _role: str, params: One) -> JobRecord:
    """Run an ended job again."""
    found = await house.store.retry(ids.job_id(params.job))
    house.hub.pulses.job(found.id, found.state, found.command, found.user)
    house.claimer.wake()
    return await record(house, found)


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


async def commands(house: House, _role: str, _params: Nothing) -> list[dict[str, Any]]:
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


async def methods(_house: House, _role: str, _params: Nothing) -> dict[str, list[str]]:
    """The methods of the daemon itself, by the roles that may call them."""
    may = {name: method.roles for name, method in TABLE.items()} | ON_THE_LINE
    roles = sorted({role for allowed in may.values() for role in allowed})
    return {role: sorted(name for name, allowed in may.items() if role in allowed) for role in roles}


async def schema(_house: House, role: str, _params: Nothing) -> Schemas:
    """The methods that the caller's role may call: what each does, and its parameters as JSON Schema."""
    return described({name: (method.params, method.run) for name, method in TABLE.items() if role in method.roles})


async def stats(house: House, _role: str, _params: Nothing) -> dict[str, Any]:
    return await house.figures.stats()


async def health(house: House, _role: str, _params: Nothing) -> dict[str, Any]:
    return await house.figures.health()


async def metrics(house: House, _role: str, _params: Nothing) -> str:
    return await house.figures.prometheus()


async def command_stats(house: House, _role: str, _params: Nothing) -> list[dict[str, Any]]:
    return await house.figures.command_figures()


async def reload(house: House, _role: str, _params: Nothing) -> dict[str, Any]:
    """Load the application anew; answered when the new code is in force, or why it cannot be."""
    await house.reload()
    return {"commands": sorted(house.pool.commands)}


async def restart(house: House, _role: str, _params: Nothing) -> str:
    """Every process anew."""
    house.restart()
    return "restarting"


async def stop(house: House, _role: str, _params: Nothing) -> str:
    """Let running jobs end, then leave."""
    house.stop()
    return "stopping"


TABLE: dict[str, Method] = {
    "ping": Method(Nothing, ping, EVERYONE),
    "submit": Method(Request, submit, EVERYONE, own_request),
    "submit_many": Method(Many, submit_many),
    "job": Method(One, job, EVERYONE, own_job),
    "jobs": Method(Listing, jobs, EVERYONE, own_listing),
    "wait": Method(Wait, wait, EVERYONE, own_job),
    "events": Method(Events, events, EVERYONE, own_job),
    "cancel": Method(Cancel, cancel, EVERYONE, own_job),
    "retry": Method(One, retry, EVERYONE, own_retry),
    "send_to_all": Method(SendToAll, send_to_all),
    "notify_now": Method(NotifyNow, notify_now),
    "messages": Method(Messages, messages, ("script", "web"), own_messages),
    "clients": Method(Nothing, clients, ("script",)),
    "pause": Method(Name, pause),
    "resume": Method(Name, resume),
    "commands": Method(Nothing, commands, EVERYONE),
    "methods": Method(Nothing, methods, EVERYONE),
    "schema": Method(Nothing, schema, EVERYONE),
    "nodes": Method(Nothing, nodes),
    "cordon": Method(Cordon, cordon),
    "roles": Method(Nothing, roles),
    "my_roles": Method(Nothing, my_roles),
    "role_move": Method(MoveRole, role_move, ("script",)),
    "schedules": Method(schedule_methods.Listed, schedule_methods.schedules),
    "schedule_next": Method(schedule_methods.Coming, schedule_methods.schedule_next),
    "schedule_why": Method(schedule_methods.OneSchedule, schedule_methods.schedule_why),
    "schedule_run": Method(schedule_methods.OneSchedule, schedule_methods.schedule_run),
    "schedule_pause": Method(schedule_methods.OneSchedule, schedule_methods.schedule_pause),
    "schedule_resume": Method(schedule_methods.OneSchedule, schedule_methods.schedule_resume),
    "schedule_slots": Method(schedule_methods.Slots, schedule_methods.schedule_slots),
    "monitors": Method(monitor_methods.Watched, monitor_methods.monitors),
    "calendar": Method(monitor_methods.Span, monitor_methods.calendar),
    "heartbeat": Method(monitor_methods.Heartbeat, monitor_methods.heartbeat, EVERYONE, monitor_methods.trusted),
    "pools": Method(Nothing, pools),
    "pool_set": Method(SetPool, pool_set, ("script",)),
    "stats": Method(Nothing, stats),
    "sys_stats": Method(Nothing, sys_stats),
    "stats_history": Method(History, stats_history),
    "getSystemInfo": Method(Nothing, system_info),
    "getWorkerPings": Method(Nothing, worker_pings),
    "health": Method(Nothing, health),
    "metrics": Method(Nothing, metrics),
    "command_stats": Method(Nothing, command_stats),
    "reload": Method(Nothing, reload, ("script",)),
    "restart": Method(Nothing, restart, ("script",)),
    "stop": Method(Nothing, stop, ("script",)),
}


ON_THE_LINE: dict[str, tuple[str, ...]] = {
    "subscribe": ("script", "web"),
    "unsubscribe": ("script", "web"),
    "attach": ("web",),
    "detach": ("web",),
}
"""Methods of a connection (:mod:`.hub_seat`), and the roles that may call them."""


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
    who = checked(who, role)
    method = TABLE.get(name)
    if method is None:
        if "." in name:
            return await call(house, role, name, params, wait, who)
        raise UnknownMethod(f"there is no method {name!r}; `methods` lists them, commands are called product.name")
    check_role(name, role, method.roles)
    asked = read(method.params, params)
    if role == "web" and method.scope is not None:
        asked = await method.scope(house, who, asked)
    return await method.run(house, role, asked)
