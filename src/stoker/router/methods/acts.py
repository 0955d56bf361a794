"""What of a call goes into the audit: the object it was about, and how that stood before and after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from stoker.model import ids
from stoker.model.access import RULES
from stoker.model.audit import Deed
from stoker.model.errors import StokerError, StoreError
from stoker.model.job import State
from stoker.router.house import House
from stoker.router.methods import pools
from stoker.settings import KINDS
from stoker.settings.shown import masked
from stoker.wire.messages import Who

log = structlog.get_logger(role="router")
ADD_WITHIN = 2.0
"""Seconds the store has to keep it; a daemon must hear `stop` also while its store is away."""

_under_way: set[asyncio.Task[Any]] = set()
"""An event loop alone does not keep its tasks."""


class Asker(msgspec.Struct, frozen=True):
    """Who makes a call: the role of the client, for whom it asks if it is the bridge, and the user that it runs as,
    where the line tells that."""

    role: str
    who: Who | None = None
    uid: int | None = None


class Act(msgspec.Struct, frozen=True):
    """``object(house, params)`` names what a call is about; ``state(house, params)`` tells how that stands, and
    ``after(params, answer)`` what came of it, where that says more. ``worth`` tells calls that are kept."""

    object: Callable[[House, Any], str]
    state: Callable[[House, Any], Awaitable[str | None]] | None = None
    after: Callable[[Any, Any], str] | None = None
    worth: Callable[[Asker, Any], bool] = lambda _asker, _params: True


async def kept(
    act: Act, house: House, asker: Asker, method: str, params: Any, run: Callable[[], Awaitable[Any]]
) -> Any:
    """Carry a call out, and keep that it was. Jobs do not act: whoever submitted them does."""
    if asker.role == "job" or not act.worth(asker, params):
        return await run()
    # to its end, also when whoever asked goes away meanwhile: what is done is kept
    task = asyncio.get_running_loop().create_task(_carry_out(act, house, asker, method, params, run))
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    return await asyncio.shield(task)


async def _carry_out(
    act: Act, house: House, asker: Asker, method: str, params: Any, run: Callable[[], Awaitable[Any]]
) -> Any:
    before = await _state(act, house, params)
    answer = await run()
    after = await _state(act, house, params) if act.after is None else act.after(params, answer)
    who = asker.who
    deed = Deed(
        node=house.settings().node, role=asker.role, user=None if who is None else who.user,
        level=None if who is None else who.level, uid=asker.uid, method=method, object=act.object(house, params),
        before=before, after=after, reason=getattr(params, "reason", None),
    )  # fmt: skip
    try:
        async with asyncio.timeout(ADD_WITHIN):
            await house.store.audit.add(deed)
    except (StoreError, TimeoutError) as error:
        # it is done, and cannot be undone for that
        told = msgspec.structs.asdict(deed)
        log.error("this was done and is not in the audit", error=str(error) or "no answer", **told)
    return answer


async def _state(act: Act, house: House, params: Any) -> str | None:
    if act.state is None:
        return None
    try:
        return await act.state(house, params)
    except StokerError:
        return None  # there is no such thing; whoever carries the call out says so


# ── what is told of each ─────────────────────────────────────────────────────────────────────────────────────────────


async def _job(house: House, params: Any) -> str:
    return str((await house.store.get(ids.job_id(params.job))).state)


def _cancelled(_params: Any, answer: Any) -> str:
    return "told to stop" if answer.status == State.RUNNING else str(answer.status)


async def _pause(house: House, params: Any) -> str:
    return "paused" if params.name in await house.store.pauses() else "running"


async def _schedule(house: House, params: Any) -> str | None:
    line = house.schedules.ticker.line(house.schedules.entry(params.name))
    (standing,) = await house.store.schedules.standings([line])
    return None if standing is None else "running" if standing.paused is None else "paused"


async def _pool(house: House, params: Any) -> str | None:
    found = next((one for one in pools.records(house) if one["product"] == params.product), None)
    return None if found is None else _json({name: found.get(name) for name in params.options})


async def _settings(house: House, params: Any) -> str:
    return _json({name: masked(house.settings(), name) for name in params.values if name in KINDS})


async def _node(house: House, params: Any) -> str:
    cordoned = any(node.cordoned for node in await house.store.nodes() if node.name == params.node)
    return "cordoned" if cordoned else "open"


async def _role(house: House, params: Any) -> str | None:
    held = (one for one in (await house.roles.view()).roles if one.name == params.role and one.owner is not None)
    return next((one.node for one in held), None)


def _here(house: House, _params: Any) -> str:
    return house.settings().node


def _to(_house: House, params: Any) -> str:
    return "/".join(part for part in (params.user, params.session, params.instance) if part is not None)


def _submitted_for(asker: Asker, params: Any) -> bool:
    """By somebody who may, for somebody else."""
    return asker.who is not None and asker.who.level in RULES and params.whom != asker.who.user


def _by_somebody(asker: Asker, _params: Any) -> bool:
    """By a person. What programs push is their work, and as much as that is."""
    return asker.who is not None


def _pushed_by_somebody(asker: Asker, params: Any) -> bool:
    return asker.who is not None and not params.pulse


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


SUBMIT = Act(
    lambda _house, params: params.command, worth=_submitted_for,
    after=lambda params, answer: f"{answer.id} for {params.whom}",
)  # fmt: skip
CANCEL = Act(lambda _house, params: params.job, _job, _cancelled)
RETRY = Act(lambda _house, params: params.job, _job, lambda _params, answer: str(answer.status))
PAUSE = Act(lambda _house, params: params.name, _pause)
SCHEDULE = Act(lambda _house, params: params.name, _schedule)
SCHEDULE_RUN = Act(lambda _house, params: params.name, after=lambda _params, answer: str(answer.id))
POOL = Act(lambda _house, params: params.product, _pool, lambda params, _answer: _json(params.options))
SETTINGS = Act(
    lambda _house, params: ", ".join(params.values), _settings,
    lambda _params, answer: _json({one.name: one.value for one in answer}),
)  # fmt: skip
NODE = Act(lambda _house, params: params.node, _node)
ROLE = Act(lambda _house, params: params.role, _role, lambda params, _answer: f"asked for {params.node}")
DAEMON = Act(_here)
PUSH = Act(_to, after=lambda params, _answer: str(params.event), worth=_pushed_by_somebody)
NOTIFY = Act(
    lambda _house, params: str(params.user), after=lambda params, _answer: str(params.level), worth=_by_somebody
)
REVOKE = Act(lambda _house, params: params.whose)
