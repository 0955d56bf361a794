"""The parts of one router, by name: what methods and connections work with. Put together in :mod:`.router`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stoker.router.admission import Admission
from stoker.router.audience import Audience
from stoker.router.claimer import Claimer
from stoker.router.desk import Desk
from stoker.router.dispatch import Dispatcher
from stoker.router.figures import Figures
from stoker.router.hub import Hub
from stoker.router.keeper import Keeper
from stoker.router.member import Member
from stoker.router.monitors import Monitors
from stoker.router.pool import Pool
from stoker.router.roles import Roles
from stoker.router.sampler import Sampler
from stoker.router.schedules import Schedules
from stoker.router.tally import Tally
from stoker.settings import Current
from stoker.store.base import Store


@dataclass(frozen=True)
class House:
    """One of each. ``reload`` raises AppError when the new code is broken; ``stop`` and ``restart`` only ask."""

    settings: Current
    boot: str
    store: Store
    pool: Pool
    desk: Desk
    claimer: Claimer
    keeper: Keeper
    member: Member
    roles: Roles
    schedules: Schedules
    monitors: Monitors
    audience: Audience
    hub: Hub
    admission: Admission
    figures: Figures
    sampler: Sampler
    dispatcher: Dispatcher
    tally: Tally
    reload: Callable[[], Awaitable[None]]
    restart: Callable[[], None]
    stop: Callable[[], None]
