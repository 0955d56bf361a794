"""Who gets which job: those that wait to the workers that have room, the least busy first."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from stoker.router.jobs.attempt import Attempt
from stoker.router.pools.resident import Resident


def least_busy(workers: Iterable[Resident]) -> Resident | None:
    """Who gets one job, in the same order; None where none has room."""
    free = (worker for worker in workers if worker.room > 0)
    return min(free, key=lambda worker: (worker.load, not worker.outgoing), default=None)


def deal(waiting: deque[Attempt], workers: Iterable[Resident]) -> list[tuple[Resident, list[Attempt]]]:
    """Takes from ``waiting`` what the workers have room for; each worker's share, which it gets with one write. Where
    two have the same to do, the one that is on its way out comes first."""
    shares: list[tuple[Resident, list[Attempt]]] = []
    free: list[tuple[int, bool, int, int]] = []
    """How much a worker has to do, who is on its way out last, which share, and how much more it takes."""
    for worker in workers:
        room = 0 if worker.single else worker.room
        if room > 0:
            free.append((worker.load, not worker.outgoing, len(shares), room))
            shares.append((worker, []))
    heapq.heapify(free)
    while waiting and free:
        load, fresh, number, room = free[0]
        shares[number][1].append(waiting.popleft())
        if room > 1:
            heapq.heapreplace(free, (load + 1, fresh, number, room - 1))
        else:
            heapq.heappop(free)
    return [(worker, attempts) for worker, attempts in shares if attempts]
