"""The parts of one router, by name: what methods and connections work with. Put together in :mod:`.building`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stoker.model.clock import Clock
from stoker.router.dispatch.dispatcher import Dispatcher
from stoker.router.jobs.admission import Admission
from stoker.router.jobs.audience import Audience
from stoker.router.jobs.claimer import Claimer
from stoker.router.jobs.desk import Desk
from stoker.router.keeper import Keeper
from stoker.router.nodes.member import Member
from stoker.router.nodes.roles import Roles
from stoker.router.pools.nursery import Nursery
from stoker.router.pools.pool import Pool
from stoker.router.push.hub import Hub
from stoker.router.schedules.monitors import Monitors
from stoker.router.schedules.schedules import Schedules
from stoker.router.stats.figures import Figures
from stoker.router.stats.sampler import Sampler
from stoker.router.stats.tally import Tally
from stoker.settings import Current
from stoker.store.base import Store


class Life(Protocol):
    """What can be asked of the router as a whole."""

    async def reload(self, changed: Mapping[str, Any] = ...) -> None:
        """Fork from freshly loaded code, with these settings changed. Raises AppError or SettingsError when it is
        broken: the old stays."""

    def ask_restart(self) -> None:
        """Leave, and come back."""

    def ask_stop(self) -> None:
        """Leave when what runs has ended; asked again: leave now."""


@dataclass(frozen=True, kw_only=True)
class House:
    """One of each."""

    settings: Current
    clock: Clock
    boot: str
    store: Store
    pool: Pool
    nursery: Nursery
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
    life: Life
