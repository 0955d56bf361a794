"""A product's share of a machine: how many workers stay alive for it, of which kind, and when they are replaced.

    code                    config/products.json        [products.images] in stoker.toml     `stoker pools set`
    Product("images", …) ◄── enabled, workers, routes ◄── every option                    ◄── every option, until the
                                                                                              next start

The later wins. What makes no sense is told in one sentence that names the place, the product and the option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

import msgspec

from stoker.model import quantities
from stoker.model.command import Isolation, check_name
from stoker.model.errors import AppError
from stoker.model.objects import Twice, once

RESIDENT = (Isolation.PROCESS, Isolation.THREAD, Isolation.ASYNC)
"""The kinds of workers that stay."""
COUNT_MAX = 10_000


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The pool of one product. Times are seconds, sizes are bytes, None is "never"."""

    product: str
    isolation: Isolation = Isolation.PROCESS
    workers: int = 0
    """Kept alive. With none and no ``max_workers`` the product has no workers of its own."""
    max_workers: int = 0
    slots: int = 0
    """Jobs at one time in one worker; 0 for the setting ``max_tasks``, or 5. Always 1 for ``process``."""
    recycle_jobs: int | None = None
    recycle_age: float | None = None
    recycle_memory: int | None = None
    start_timeout: float = 60.0
    """Seconds in which a worker has to be ready, its start hook done; 0 for no limit."""
    grow_after: float = 0.5
    """Longest wait for a worker before another one is made."""
    shrink_after: float = 60.0
    """Idle time after which a worker beyond ``workers`` goes."""
    weight: int = 1
    reserved: int = 0
    enabled: bool = True
    routes: bool = True
    ahead: bool = True
    """Whether jobs may wait in a ``process`` worker while it is at another. Not where a command is declared ``once``:
    after the daemon was killed nobody can know which of them had begun."""

    def __post_init__(self) -> None:
        if self.isolation not in RESIDENT:
            kinds = ", ".join(RESIDENT)
            raise ValueError(f"isolation: workers that stay are {kinds}, not {self.isolation.value!r}")
        if self.isolation is Isolation.PROCESS and self.slots > 1:
            raise ValueError("slots: a 'process' worker runs one job at a time; give it more workers, or use 'thread'")

    @property
    def most(self) -> int:
        """Workers that there may be at one time, but for successors on their way."""
        return max(self.workers, self.max_workers) if self.enabled else 0


class PoolOptions(TypedDict, total=False):
    """What may be said of a pool, for those who read types."""

    isolation: Literal["process", "thread", "async"] | Isolation
    workers: int
    max_workers: int
    slots: int
    recycle_jobs: int | None
    recycle_age: float | str | None
    recycle_memory: int | str | None
    start_timeout: float | str
    grow_after: float | str
    shrink_after: float | str
    weight: int
    reserved: int
    enabled: bool
    routes: bool


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"a whole number is needed, not {value!r}")
        if not least <= value <= COUNT_MAX:
            raise ValueError(f"must be {least} or more, not {value}" if value < least else f"{value} is too many")
        return value

    return read


def _jobs(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"a number of jobs, 1 or more, is needed, not {value!r}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"true or false is needed, not {value!r}")
    return value


def _time(value: Any) -> float:
    if not isinstance(value, int | float | str):
        raise ValueError(f"a duration is needed, not {value!r}")
    return quantities.seconds(value)


def _age(value: Any) -> float | None:
    found = None if value is None else _time(value)
    if found == 0:
        raise ValueError("must be more than 0; leave it out for never")
    return found


def _size(value: Any) -> int | None:
    if value is not None and not isinstance(value, int | float | str):
        raise ValueError(f"a size is needed, not {value!r}")
    return None if value is None else quantities.size(value)


def _isolation(value: Any) -> Isolation:
    try:
        return Isolation(value)
    except ValueError:
        raise ValueError(f"{value!r} is none of {', '.join(RESIDENT)}") from None


OPTIONS: dict[str, Callable[[Any], Any]] = {
    "isolation": _isolation,
    "workers": _whole(0),
    "max_workers": _whole(0),
    "slots": _whole(1),
    "recycle_jobs": _jobs,
    "recycle_age": _age,
    "recycle_memory": _size,
    "start_timeout": _time,
    "grow_after": _time,
    "shrink_after": _time,
    "weight": _whole(1),
    "reserved": _whole(0),
    "enabled": _flag,
    "routes": _flag,
}
"""What may be said about a pool, and how each is read."""
RUNNING = tuple(name for name in OPTIONS if name != "isolation")
"""What may be changed while the daemon runs."""


def read_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the fields of a :class:`PoolSpec`. Raises ValueError naming the one that makes no sense."""
    found = {}
    for name, value in given.items():
        if name not in OPTIONS:
            raise ValueError(f"there is no option {name!r}; known are {', '.join(OPTIONS)}")
        try:
            found[name] = OPTIONS[name](value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found


def declare(product: str, given: Mapping[str, Any]) -> PoolSpec:
    """The pool as the code says it: naming a kind of worker asks for one. Raises :class:`AppError`."""
    try:
        found = read_options({name: value for name, value in given.items() if value is not None})
        if "isolation" in found and "max_workers" not in found:
            found.setdefault("workers", 1)
        return PoolSpec(product=product, **found)
    except ValueError as error:
        raise AppError(f"product {product}: {error}") from None


def changed(spec: PoolSpec, given: Mapping[str, Any]) -> PoolSpec:
    """The pool with some options changed. Raises ValueError."""
    return msgspec.structs.replace(spec, **read_options(given))


def read_tables(tables: Any, source: str) -> dict[str, dict[str, Any]]:
    """What a file says about products, checked, as plain data. Raises ValueError with one clear sentence."""
    if not isinstance(tables, Mapping):
        raise ValueError(f"{source}: an object with a product for each name is needed, not {type(tables).__name__}")
    found: dict[str, dict[str, Any]] = {}
    for product, table in tables.items():
        try:
            check_name("product", product)
            if not isinstance(table, Mapping):
                raise ValueError(f"an object with options is needed, not {table!r}")
            options = read_options(table)
            # of what kind it is the code may say: then these are judged together when it is known
            PoolSpec(product=product, **{"isolation": Isolation.THREAD, **options})
        except AppError as error:
            raise ValueError(f"{source}: {error.message}") from None
        except ValueError as error:
            raise ValueError(f"{source}: {product}: {error}") from None
        found[product] = {name: str(one) if isinstance(one, Isolation) else one for name, one in options.items()}
    return found


def read_json(text: str, source: str) -> dict[str, dict[str, Any]]:
    """A ``products.json``. Raises ValueError; also for a key that is there twice, of which JSON would keep the last."""
    import json  # not at the top: every fork would pay for it, and few projects have such a file

    try:
        return read_tables(json.loads(text, object_pairs_hook=once), source)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not JSON: {error}") from None
    except Twice as error:
        raise ValueError(f"{source}: the key {error.key!r} is there twice") from None
    except RecursionError:
        raise ValueError(f"{source} is nested too deep") from None
