"""What clients may ask about jobs: submit, look at, wait for, cancel, and run them again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stoker import failpoint
from stoker.model import ids
from stoker.model.audience import user_name
from stoker.model.errors import JobCancelled, JobFailed, PayloadTooLarge
from stoker.model.job import Job, State, Submission, Submitted
from stoker.model.request import Request
from stoker.router.house import House
from stoker.router.jobs.explain import why
from stoker.router.methods.scope import own_request
from stoker.store.base import Filter
from stoker.wire.messages import Offset, Who
from stoker.wire.records import EventRecord, JobRecord, event_outside, event_record, job_record, outside
from stoker.wire.topics import JOBS

MANY_MAX = 10_000
"""Jobs in one bulk submission at most."""
WAIT_MAX = 7 * 86400.0


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
    user: str | int | None = None
    tag: str | None = None
    before: str | None = None
    limit: int = 10

    @property
    def whom(self) -> str | None:
        """The user's id as text."""
        return None if self.user is None else user_name(self.user)


class Events(msgspec.Struct, forbid_unknown_fields=True):
    job: str
    after: Offset = 0
    limit: int = 1000


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
    if any(submission.run_at is not None for submission in submissions):
        house.keeper.due()
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
    reason = await why(found, house.store, house.pool, house.claimer)
    return _record(house, found, await _nodes(house, [found]), reason)


def _record(house: House, found: Job, nodes: Mapping[str, str], reason: str | None = None) -> JobRecord:
    spec = house.pool.commands.get(found.command)
    return job_record(
        found, secret=spec.secret if spec else (), why=reason, node=nodes.get(found.owner or ""),
        pid=house.desk.pid(found),
    )  # fmt: skip


async def _nodes(house: House, found: Sequence[Job]) -> Mapping[str, str]:
    """The names of the nodes that run these, by their boots."""
    owners = {job.owner for job in found if job.state is State.RUNNING}
    if owners <= {house.boot}:
        return {house.boot: house.settings().node}
    return {node.boot: node.name for node in await house.store.nodes()}


async def jobs(house: House, _role: str, params: Listing) -> list[JobRecord]:
    """A page of jobs, newest first; ``before`` is the id of the last one of the page before."""
    before = None if params.before is None else (await house.store.get(ids.job_id(params.before))).seq
    found = await house.store.jobs(
        Filter(
            state=params.status,
            command=params.command,
            product=params.product,
            user=params.whom,
            tag=params.tag,
            before=before,
            limit=params.limit,
        )
    )
    nodes = await _nodes(house, found)
    return [_record(house, job, nodes) for job in found]


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


def listed_outside(found: list[JobRecord]) -> list[JobRecord]:
    """What somebody who does not see everything is told of their jobs."""
    return [outside(one) for one in found]


def events_outside(found: list[EventRecord]) -> list[EventRecord]:
    """The same of what those said."""
    return [event_outside(one) for one in found]


async def cancel(house: House, _role: str, params: Cancel) -> JobRecord:
    """End a waiting job now, a running one soon; an ended one is left as it is."""
    found = await house.store.cancel(ids.job_id(params.job), params.reason[:500])
    if found.state is State.RUNNING:
        # here, or by its owner as soon as that hears of it
        house.desk.cancel(found.id, found.cancel or params.reason)
    house.audience.nudge([found.id])
    house.hub.pulses.job(found.id, found.state, found.command, found.user)
    house.claimer.wake()
    return await record(house, found)


async def retry(house: House, _role: str, params: One) -> JobRecord:
    """Run an ended job again."""
    found = await house.store.retry(ids.job_id(params.job))
    house.hub.pulses.job(found.id, found.state, found.command, found.user)
    house.claimer.wake()
    return await record(house, found)
