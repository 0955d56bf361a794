"""Which figures there are, in the order they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from bench.figures import (
    claim,
    idle,
    isolated,
    isolated_150mb,
    isolated_vs_rq,
    pg_drain,
    pg_idle,
    pg_nodes,
    pg_peers,
    pg_start,
    pg_submit,
    private,
    start,
    submit,
)
from bench.result import Result, Target
from bench.run import Run


class Group(NamedTuple):
    """Figures that are measured together."""

    figures: Mapping[str, Target]
    measure: Callable[[Run], Iterable[Result]]


MODULES = (
    isolated, isolated_150mb, isolated_vs_rq, start, submit, claim, idle, private,
    pg_drain, pg_peers, pg_submit, pg_start, pg_nodes, pg_idle,
)  # fmt: skip
GROUPS = tuple(Group(module.FIGURES, module.measure) for module in MODULES)
TARGETS: Mapping[str, Target] = {name: target for group in GROUPS for name, target in group.figures.items()}


def chosen(prefix: str) -> Iterator[tuple[Group, list[str]]]:
    """The groups with figures whose names begin so, and these names. Raises ValueError when there are none."""
    if not any(name.startswith(prefix) for name in TARGETS):
        raise ValueError(f"no figure begins with {prefix!r}; there are {', '.join(TARGETS)}")
    for group in GROUPS:
        names = [name for name in group.figures if name.startswith(prefix)]
        if names:
            yield group, names
