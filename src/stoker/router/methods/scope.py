"""Whose jobs the bridge may ask about: those of the one for whom it asks, and of nobody else.

A scope looks at the parameters of a call before it is carried out, and gives back what they become. That a job of
somebody else is there is not told.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.model import ids
from stoker.model.audience import EVERYBODY, check_name
from stoker.model.errors import NotAllowed, UnknownJob
from stoker.model.job import Job
from stoker.model.request import Request
from stoker.router.house import House
from stoker.wire.messages import Who


def checked(who: Who | None, role: str) -> Who | None:
    """The ``who`` of a call of this role. Raises a RequestError for one that cannot be."""
    if who is None:
        return None
    if role != "web":
        raise NotAllowed(f"`who` is for the bridge to say, not for {role}")
    check_name("user", who.user)
    if who.user == EVERYBODY:
        raise NotAllowed(f"the user {EVERYBODY!r} is everybody, and nobody in particular")
    return who


async def own_request(_house: House, who: Who | None, request: Request) -> Request:
    """A job belongs to whom it is asked for."""
    if who is None:
        return request
    if request.user is None:
        return msgspec.structs.replace(request, user=who.user)
    if request.whom != who.user and not who.all:
        raise NotAllowed("a job can be submitted for oneself only")
    return request


async def own_job(house: House, who: Who | None, params: Any) -> Any:
    """One's own job, by its id."""
    await seen(house, who, params.job)
    return params


async def own_retry(house: House, who: Who | None, params: Any) -> Any:
    """One's own job, whose command one may call."""
    found = await seen(house, who, params.job)
    spec = house.pool.commands.get(found.command)
    if spec is not None and "web" not in spec.callers and who is not None and not who.all:
        raise NotAllowed(spec.closed_to("web"))
    return params


async def own_listing(house: House, who: Who | None, params: Any) -> Any:
    """One's own jobs."""
    if named(who).all:
        return params
    user = named(who).user
    if params.whom not in (None, user):
        raise NotAllowed("one's own jobs can be listed only")
    if params.before is not None:
        await seen(house, who, params.before)
    return msgspec.structs.replace(params, user=user)


async def seen(house: House, who: Who | None, job: str) -> Job:
    """A job that may be seen. Raises :class:`UnknownJob` for any other."""
    asking = named(who)
    found = await house.store.get(ids.job_id(job))
    if not asking.all and found.user != asking.user:
        raise UnknownJob(f"there is no job {found.id}")
    return found


def named(who: Who | None) -> Who:
    """Raises :class:`NotAllowed` where nobody is named."""
    if who is None:
        raise NotAllowed("a call of the role web about jobs says for whom: `who`")
    return who
