"""What clients may ask: one table of methods, each with the shape of its parameters and the roles that may call it.

A name with a dot is not in the table: it is a command, and calling it submits a job and waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

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
from stoker.router.explain import why
from stoker.store.base import Filter
from stoker.wire.records import EventRecord, JobRecord, event_record, job_record

if TYPE_CHECKING:
    from stoker.router.router import Router

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
    after: int = 0
    limit: int = 1000


class Name(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Method(msgspec.Struct, frozen=True):
    """``run(router, role, params)`` answers with anything msgspec can write."""

    params: type[Any]
    run: Callable[[Router, str, Any], Awaitable[Any]]
    roles: tuple[str, ...] = SCRIPT


async def ping(_router: Router, _role: str, _params: Nothing) -> str:
    """Whether somebody is there."""
    return "pong"


async def submit(router: Router, role: str, request: Request) -> Submitted:
    """Store a job; answered when it is on disk."""
    submission = router.admission.admit(request, role, router.store.now())
    (answer,) = await stored(router, [submission])
    if isinstance(answer, Exception):
        raise answer
    return answer


async def submit_many(router: Router, role: str, params: Many) -> list[Submitted]:
    """Store many jobs in one transaction; if one of them cannot be admitted, none is stored."""
    if len(params.jobs) > MANY_MAX:
        raise PayloadTooLarge(f"{len(params.jobs)} jobs at once; {MANY_MAX} are the most, send several batches")
    now = router.store.now()
    submissions = [router.admission.admit(request, role, now) for request in params.jobs]
    answers = await stored(router, submissions)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return [answer for answer in answers if isinstance(answer, Submitted)]


async def stored(router: Router, submissions: list[Submission]) -> list[Submitted | Exception]:
    """Into the store, and whatever has to be woken is."""
    future = router.store.submit(submissions)
    # asked for before the answer is there, so that both share one commit: a free slot costs a job no second one
    router.claimer.wake()
    answers = await future
    failpoint.hit("after-submit")
    router.tally.submitted += sum(1 for a in answers if isinstance(a, Submitted) and a.created)
    later = [s.run_at for s in submissions if s.run_at is not None]
    if later:
        router.keeper.due_at(min(later))
    router.claimer.wake()
    return answers


async def call(router: Router, role: str, name: str, input: msgspec.Raw, wait: bool | None) -> Any:
    """Submit a command and wait for its value; without waiting, the job's id."""
    spec = router.admission.spec(name)
    answer = await submit(router, role, Request(command=name, input=input))
    if not (spec.wait if wait is None else wait):
        return {"id": answer.id}
    job = await router.audience.ended(answer.id)
    match job.state:
        case State.COMPLETED:
            return msgspec.Raw(job.output or b"null")
        case State.CANCELLED:
            raise JobCancelled(f"{name} {job.id} was cancelled: {job.fault.message if job.fault else ''}")
    raise JobFailed(f"{name} {job.id} failed: {job.fault}")


async def job(router: Router, _role: str, params: One) -> JobRecord:
    """One job, and why it waits if it does."""
    return await record(router, await router.store.get(ids.job_id(params.job)))


async def record(router: Router, found: Job) -> JobRecord:
    spec = router.pool.commands.get(found.command)
    reason = await why(found, router.store, router.pool, router.claimer)
    return job_record(found, secret=spec.secret if spec else (), why=reason)


async def jobs(router: Router, _role: str, params: Listing) -> list[JobRecord]:
    """A page of jobs, newest first; ``before`` is the id of the last one of the page before."""
    before = None if params.before is None else (await router.store.get(ids.job_id(params.before))).seq
    found = await router.store.jobs(
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
    commands = router.pool.commands
    return [job_record(j, secret=commands[j.command].secret if j.command in commands else ()) for j in found]


async def wait(router: Router, _role: str, params: Wait) -> JobRecord:
    """The job when it has ended, or as it is after ``seconds``."""
    id = ids.job_id(params.job)
    seconds = WAIT_MAX if params.seconds is None else max(0.0, min(params.seconds, WAIT_MAX))
    try:
        return await record(router, await asyncio.wait_for(router.audience.ended(id), seconds))
    except TimeoutError:
        return await record(router, await router.store.get(id))


async def events(router: Router, _role: str, params: Events) -> list[EventRecord]:
    """What a job said after a cursor."""
    found = await router.store.events(ids.job_id(params.job), params.after, params.limit)
    return [event_record(event) for event in found]


async def cancel(router: Router, _role: str, params: Cancel) -> JobRecord:
    """End a waiting job now, a running one soon; an ended one is left as it is."""
    found = await router.store.cancel(ids.job_id(params.job), params.reason[:500])
    attempt = router.desk.find(found.id)
    if attempt is not None and found.state is State.RUNNING:
        attempt.cancelled(found.cancel or params.reason, router.settings.kill_grace)
    router.audience.nudge(found.id)
    router.claimer.wake()
    return await record(router, found)


async def retry(router: Router, _role: str, params: One) -> JobRecord:
    """Run an ended job again."""
    found = await router.store.retry(ids.job_id(params.job))
    router.claimer.wake()
    return await record(router, found)


async def pause(router: Router, _role: str, params: Name) -> list[str]:
    """Start nothing more of a command, a product, or ``*``; what is paused now."""
    known = {"*", *router.pool.commands, *(name.partition(".")[0] for name in router.pool.commands)}
    if params.name not in known:
        raise RequestError(f"{params.name!r} is neither a command nor a product, nor '*' for everything")
    await router.store.pause(params.name)
    router.claimer.paused = await router.store.pauses()
    return sorted(router.claimer.paused)


async def resume(router: Router, _role: str, params: Name) -> list[str]:
    """Take a pause back; what is still paused."""
    if not await router.store.resume(params.name):
        raise RequestError(f"{params.name!r} is not paused")
    router.claimer.paused = await router.store.pauses()
    router.claimer.wake()
    return sorted(router.claimer.paused)


async def commands(router: Router, _role: str, _params: Nothing) -> list[dict[str, Any]]:
    """What can be called: names, types, limits, and who may."""
    return [
        {
            "name": spec.name,
            "doc": spec.doc,
            "schema": spec.schema,
            "isolation": str(spec.isolated(router.pool.default)),
            "timeout": spec.timeout,
            "memory": spec.memory,
            "retries": spec.backoff.retries,
            "priority": spec.priority,
            "wait": spec.wait,
            "callers": list(spec.callers),
        }
        for _, spec in sorted(router.pool.commands.items())
    ]


async def methods(_router: Router, _role: str, _params: Nothing) -> dict[str, list[str]]:
    """The methods of the daemon itself, by the roles that may call them."""
    roles = sorted({role for method in TABLE.values() for role in method.roles})
    return {role: sorted(name for name, m in TABLE.items() if role in m.roles) for role in roles}


async def stats(router: Router, _role: str, _params: Nothing) -> dict[str, Any]:
    return await router.figures.stats()


async def health(router: Router, _role: str, _params: Nothing) -> dict[str, Any]:
    return await router.figures.health()


async def metrics(router: Router, _role: str, _params: Nothing) -> str:
    return await router.figures.prometheus()


async def command_stats(router: Router, _role: str, _params: Nothing) -> list[dict[str, Any]]:
    return await router.figures.command_figures()


async def reload(router: Router, _role: str, _params: Nothing) -> dict[str, Any]:
    """Load the application anew; answered when the new code is in force, or why it cannot be."""
    await router.reload()
    return {"commands": sorted(router.pool.commands)}


async def restart(router: Router, _role: str, _params: Nothing) -> str:
    """Every process anew."""
    router.ask_restart()
    return "restarting"


async def stop(router: Router, _role: str, _params: Nothing) -> str:
    """Let running jobs end, then leave."""
    router.ask_stop()
    return "stopping"


TABLE: dict[str, Method] = {
    "ping": Method(Nothing, ping, EVERYONE),
    "submit": Method(Request, submit, EVERYONE),
    "submit_many": Method(Many, submit_many),
    "job": Method(One, job),
    "jobs": Method(Listing, jobs),
    "wait": Method(Wait, wait),
    "events": Method(Events, events),
    "cancel": Method(Cancel, cancel),
    "retry": Method(One, retry),
    "pause": Method(Name, pause),
    "resume": Method(Name, resume),
    "commands": Method(Nothing, commands, EVERYONE),
    "methods": Method(Nothing, methods, EVERYONE),
    "stats": Method(Nothing, stats),
    "health": Method(Nothing, health),
    "metrics": Method(Nothing, metrics),
    "command_stats": Method(Nothing, command_stats),
    "reload": Method(Nothing, reload, ("script",)),
    "restart": Method(Nothing, restart, ("script",)),
    "stop": Method(Nothing, stop, ("script",)),
}


def read_params(method: Method, raw: msgspec.Raw) -> Any:
    """Parameters of the right shape. Raises :class:`ProtocolError` naming the field."""
    try:
        return msgspec.json.decode(raw, type=method.params)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ProtocolError(f"wrong parameters: {error}") from None
    except RecursionError:
        raise PayloadTooLarge("the parameters are nested too deep") from None


async def answer(router: Router, role: str, name: str, params: msgspec.Raw, wait: bool | None) -> Any:
    """Carry out what a client asks. Raises a StokerError that says why not."""
    method = TABLE.get(name)
    if method is None:
        if "." in name:
            return await call(router, role, name, params, wait)
        raise UnknownMethod(f"there is no method {name!r}; `methods` lists them, commands are called product.name")
    if role not in method.roles:
        raise NotAllowed(f"{name} may be called by {' and '.join(method.roles)}, not by {role}")
    return await method.run(router, role, read_params(method, params))
