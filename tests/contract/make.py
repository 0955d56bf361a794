"""Short ways to write what a store is given."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from stoker.model.errors import StokerError
from stoker.model.job import Claimed, State, Submission, Submitted
from stoker.model.outcome import Fault
from stoker.model.settle import Ending
from stoker.store.base import Held, Quota, Settlement, Store

WORK = "app.work"
OWNER = "boot-1"
LEASE = 30.0
_numbers = itertools.count(1)


def job(command: str = WORK, *, id: str | None = None, input: bytes = b"{}", **more: Any) -> Submission:
    """A submission, under an id of its own unless one is given."""
    return Submission(id=id or f"job-{next(_numbers)}", command=command, input=input, **more)


def quota(command: str = WORK, room: int = 1000, limit: int | None = None, interval: float | None = None) -> Quota:
    return Quota(command, room, limit, interval)


async def put(store: Store, *new: Submission) -> list[str]:
    """Submit what must be taken; the ids, in order."""
    ids = []
    for answer in await store.submit(new):
        assert isinstance(answer, Submitted), answer
        ids.append(answer.id)
    return ids


async def refused(store: Store, new: Submission) -> StokerError:
    """Submit what must be refused; why."""
    (answer,) = await store.submit([new])
    assert isinstance(answer, StokerError), answer
    return answer


async def take(
    store: Store, total: int = 1000, *commands: str, owner: str = OWNER, lease: float = LEASE
) -> list[Claimed]:
    """Claim with room for everything."""
    return await store.claim(owner, lease, [quota(command) for command in commands or (WORK,)], total)


async def take_one(store: Store, *commands: str, owner: str = OWNER, lease: float = LEASE) -> Claimed:
    (claimed,) = await take(store, 1, *commands, owner=owner, lease=lease)
    return claimed


def done(claimed: Claimed, output: bytes = b"null") -> Settlement:
    return end(claimed, State.COMPLETED, output=output)


def failed(claimed: Claimed, message: str = "broken") -> Settlement:
    return end(claimed, State.FAILED, fault=Fault("ValueError", message))


def cancelled(claimed: Claimed, reason: str = "asked for") -> Settlement:
    return end(claimed, State.CANCELLED, fault=Fault("Cancelled", reason))


def again(claimed: Claimed, run_at: float, attempt: int | None = None) -> Settlement:
    """Back to wait: counted as an attempt unless another number is given."""
    ending = Ending(State.NEW, claimed.attempt if attempt is None else attempt, run_at, fault=Fault("Lost", "gone"))
    return Settlement(claimed.seq, claimed.fence, ending, claimed.key)


def end(claimed: Claimed, state: State, **more: Any) -> Settlement:
    return Settlement(claimed.seq, claimed.fence, Ending(state, claimed.attempt, **more), claimed.key)


async def finish(store: Store, *claimed: Claimed) -> None:
    """Complete attempts that must still be ours."""
    assert await store.settle([done(one) for one in claimed]) == [True] * len(claimed)


def held(*claimed: Claimed) -> list[Held]:
    return [Held(one.seq, one.fence) for one in claimed]


async def states(store: Store, ids: Sequence[str]) -> list[State]:
    return [(await store.get(id)).state for id in ids]
