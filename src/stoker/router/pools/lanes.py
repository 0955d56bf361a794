"""Which kind of slot a command takes, by what its code, the files and the operator say of its product.

*fork, *inline           commands of all products
*async, *thread          the residents of all products that have none of their own
images                   the workers of the product images
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from stoker.model.command import CommandSpec, Isolation
from stoker.model.errors import AppError
from stoker.model.pool import RESIDENT, PoolSpec, changed
from stoker.settings import Current
from stoker.wire.frames import Announce

log = structlog.get_logger(role="pool")

FORK, INLINE = "*fork", "*inline"
SHARED = {Isolation.ASYNC: "*async", Isolation.THREAD: "*thread"}


class Lanes:
    """``pools`` has every product's pool, also those without workers; ``commands`` every command, with the isolation
    that its product's pool means for it."""

    def __init__(self, settings: Current) -> None:
        self._settings = settings
        self._announced: Announce | None = None
        self._told: dict[str, dict[str, Any]] = {}
        self.pools: dict[str, PoolSpec] = {}
        self.commands: dict[str, CommandSpec] = {}
        self._lanes: dict[str, str] = {}

    @property
    def default(self) -> Isolation:
        return Isolation.ASYNC if self._settings().max_tasks else Isolation.FORK

    def read(self, announce: Announce) -> None:
        """Take over what the code says, then the files, then who changed it since the start."""
        self._announced = announce
        self.pools = self.ahead(announce)
        for product in sorted(self._settings().products.keys() - self.pools.keys()):
            log.warning("the settings name a product that no application registers", product=product)
        self._place(announce)

    def ahead(self, announce: Announce) -> dict[str, PoolSpec]:
        """Every product's pool as :meth:`read` would find it. Raises :class:`AppError` for what makes no sense."""
        found = {spec.product: spec for spec in announce.pools}
        for command in announce.commands:
            found.setdefault(command.product, PoolSpec(product=command.product))
        files = self._settings().products
        return {product: self._merged(spec, files.get(product, {}), announce) for product, spec in found.items()}

    def change(self, product: str, given: Mapping[str, Any]) -> PoolSpec:
        """Change a pool until the next start. Raises ValueError."""
        assert self._announced is not None
        self.pools[product] = changed(self.pools[product], given)
        self._told[product] = {**self._told.get(product, {}), **given}
        self._place(self._announced)
        return self.pools[product]

    def of(self, spec: CommandSpec) -> str:
        """The lane of a command."""
        return self._lanes.get(spec.name) or self._lane(spec)

    def _place(self, announce: Announce) -> None:
        self.commands = {spec.name: self._placed(spec) for spec in announce.commands}
        self._lanes = {name: self._lane(spec) for name, spec in self.commands.items()}

    def _lane(self, spec: CommandSpec) -> str:
        isolation = spec.isolated(self.default)
        if isolation is Isolation.INLINE:
            return INLINE
        if isolation not in RESIDENT:
            return FORK
        pool = self.pools[spec.product]
        return spec.product if _has_workers(pool) and pool.isolation is isolation else SHARED[isolation]

    def spec(self, lane: str, command: CommandSpec) -> PoolSpec:
        """The workers of a lane of residents."""
        if lane not in SHARED.values():
            return self.pools[lane]
        isolation = command.isolated(self.default)
        return PoolSpec(product="", isolation=isolation, max_workers=1, shrink_after=float("inf"))

    def _merged(self, spec: PoolSpec, file: Mapping[str, Any], announce: Announce) -> PoolSpec:
        own = [c for c in announce.commands if c.product == spec.product]
        asks = any(c.isolation is Isolation.PROCESS for c in own)
        spec = msgspec.structs.replace(spec, ahead=not any(c.once for c in own))
        if asks and not _has_workers(spec) and "workers" not in file:
            spec = msgspec.structs.replace(spec, workers=1)
        try:
            for told in (file, self._told.get(spec.product, {})):
                spec = changed(spec, told)
        except ValueError as error:
            raise AppError(f"product {spec.product}: {error}") from None
        return spec

    def _placed(self, spec: CommandSpec) -> CommandSpec:
        pool = self.pools[spec.product]
        if spec.isolation is None and _has_workers(pool):
            return msgspec.structs.replace(spec, isolation=pool.isolation)
        if spec.isolation is Isolation.PROCESS and not (_has_workers(pool) and pool.isolation is Isolation.PROCESS):
            return msgspec.structs.replace(spec, isolation=Isolation.FORK)
        return spec


def _has_workers(pool: PoolSpec) -> bool:
    return max(pool.workers, pool.max_workers) > 0
