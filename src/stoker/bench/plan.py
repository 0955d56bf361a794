"""Which figures there are, in the order they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

from stoker.bench.figures import (
    async_sleep,
    claim,
    idle,
    isolated,
    isolated_150mb,
    isolated_vs_rq,
    moved,
    moved_peak,
    pool_idle,
    private,
    schedules,
    start,
    submit,
    warm,
    warm_load,
    warm_peers,
    warm_start,
)
from stoker.bench.result import Result, Target
from stoker.bench.run import Run


class Group(NamedTuple):
    """Figures that are measured together."""

    figures: Mapping[str, Target]
    measure: Callable[[Run], Iterable[Result]]


def groups(*modules: ModuleType) -> tuple[Group, ...]:
    return tuple(Group(module.FIGURES, module.measure) for module in modules)


OURS = groups(
    isolated, isolated_150mb, start, submit, claim, idle, private, warm, warm_load, moved, moved_peak, async_sleep,
    pool_idle, schedules,
)  # fmt: skip
BRIEF = groups(isolated, start, submit, warm, warm_load, moved, moved_peak, async_sleep, pool_idle)
"""Of these, what is measured when nothing is named: seconds each."""
PEERS = groups(isolated_vs_rq, warm_peers, warm_start)
"""For which others are installed."""


def targets(groups: Iterable[Group]) -> Mapping[str, Target]:
    """What was promised of each figure."""
    return {name: target for group in groups for name, target in group.figures.items()}


def chosen(groups: Sequence[Group], prefixes: str) -> Iterator[tuple[Group, list[str]]]:
    """The groups with figures whose names begin so, and these names; several beginnings have commas between. Raises
    ValueError when one of them finds none."""
    known = targets(groups)
    wanted = tuple(prefixes.split(","))
    for prefix in wanted:
        if not any(name.startswith(prefix) for name in known):
            raise ValueError(f"no figure begins with {prefix!r}; there are {', '.join(known)}")
    for group in groups:
        names = [name for name in group.figures if name.startswith(wanted)]
        if names:
            yield group, names
