"""An explicit-state searcher: every state that a small model can reach, each exactly once, nearest first.

    start ──► actions(state) ──► (name, state), (name, state), …
                 ▲                     │
                 └──── not seen yet ◄──┘      every one is shown to every invariant

A model is an immutable, hashable state and a function from a state to what may happen next. The search is breadth
first, so the trace to a violation is a shortest one. Nothing is sampled: what is said to hold, holds in every state
within the bounds of the model; a model that outgrows ``most`` is an error, never a silent half.
"""

from __future__ import annotations

import gc
import random
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)
Steps = Callable[[S], Iterable[tuple[str, S]]]
Invariants = Mapping[str, Callable[[S], bool]]


class Broken(NamedTuple):
    """Which invariant does not hold, and a shortest way to where."""

    invariant: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.invariant} after {len(self.trace)} steps: {', '.join(self.trace)}"


class Trap(NamedTuple):
    """Where a run may stay for ever without the goal: the way to it, the steps that go round; none: it is stuck."""

    trace: tuple[str, ...]
    round: frozenset[str]


class Search(Generic[S]):
    """All states from these starts on. Stops at the first broken invariant; else ``broken`` is None."""

    def __init__(self, starts: Sequence[S], steps: Steps[S], invariants: Invariants[S], *, most: int) -> None:
        self.found: list[S] = list(starts)
        self.broken: Broken | None = None
        self._number: dict[S, int] = {start: number for number, start in enumerate(starts)}
        self._names: dict[str, int] = {}
        self._from = array("l", [-1]) * len(starts)
        self._by = array("l", [-1]) * len(starts)
        # the steps of state i are at _first[i] up to _first[i + 1]
        self._first = array("l", [0])
        self._step = array("l")
        self._to = array("l")
        self._kept = bytearray()
        was_enabled = gc.isenabled()
        gc.disable()  # states hold no cycles, and there are very many of them to look through
        try:
            self._run(steps, invariants, most)
        finally:
            if was_enabled:
                gc.enable()

    @property
    def states(self) -> int:
        return len(self.found)

    def _run(self, steps: Steps[S], invariants: Invariants[S], most: int) -> None:
        if any(self._breaks(at, invariants) for at in range(len(self.found))):
            return
        at = 0
        while at < len(self.found):
            state = self.found[at]
            for name, after in steps(state):
                if after == state:
                    continue
                step = self._names.setdefault(name, len(self._names))
                to = self._number.get(after)
                if to is None:
                    to = self._number[after] = len(self.found)
                    self.found.append(after)
                    self._from.append(at)
                    self._by.append(step)
                    if self._breaks(to, invariants):
                        return
                    if to >= most:
                        raise AssertionError(f"more than {most} states: the model is not as small as it is meant to be")
                self._step.append(step)
                self._to.append(to)
            self._first.append(len(self._to))
            at += 1

    def _breaks(self, at: int, invariants: Invariants[S]) -> bool:
        for name, holds in invariants.items():
            if not holds(self.found[at]):
                self.broken = Broken(name, self._trace(at))
                return True
        return False

    def _trace(self, at: int) -> tuple[str, ...]:
        names = list(self._names)
        back = []
        while self._from[at] >= 0:
            back.append(names[self._by[at]])
            at = self._from[at]
        return tuple(reversed(back))

    def _out(self, at: int) -> Iterator[tuple[int, int]]:
        for place in range(self._first[at], self._first[at + 1]):
            if self._kept[self._step[place]]:
                yield self._step[place], self._to[place]

    def trap(self, goal: Callable[[S], bool], fair: Callable[[str], bool]) -> Trap | None:
        """Where a fair run may go on for ever without reaching ``goal``; None if every fair run gets there.

        Steps that are not fair are faults: they may happen at any time, but stop at last. From there on a step that
        stays possible is taken at last (weak fairness). A run without end stays in one strongly connected part of the
        graph at last, and it cannot stay where one same step is possible in every state and always leads out. Where
        there is no trap a goal can be reached from every state, even without faults.
        """
        assert self.broken is None, "liveness of what is not even safe"
        names = list(self._names)
        self._kept = bytearray(fair(name) for name in names)
        alive = bytearray(not goal(state) for state in self.found)
        for part in self._parts(alive):
            inside = set(part)
            out = [list(self._out(at)) for at in part]
            staying = {step for steps in out for step, to in steps if to in inside}
            always = set.intersection(*({step for step, _ in steps} for steps in out))
            if not always - staying and (staying or not out[0]):
                return Trap(self._trace(min(part)), frozenset(names[step] for step in staying))
        return None

    def _parts(self, alive: bytearray) -> Iterator[list[int]]:
        """The strongly connected parts of the graph of living states (Tarjan, without recursion)."""
        order = array("l", [-1]) * len(self.found)
        low = array("l", order)
        on_path = bytearray(len(self.found))
        path: list[int] = []
        count = 0
        for root in range(len(self.found)):
            if not alive[root] or order[root] >= 0:
                continue
            work = [(root, self._first[root])]
            while work:
                at, place = work.pop()
                if place == self._first[at] and order[at] < 0:
                    order[at] = low[at] = count
                    count += 1
                    path.append(at)
                    on_path[at] = 1
                deeper = -1
                while place < self._first[at + 1]:
                    to = self._to[place]
                    if alive[to] and self._kept[self._step[place]]:
                        if order[to] < 0:
                            deeper = to
                            break
                        if on_path[to]:
                            low[at] = min(low[at], low[to])
                    place += 1
                if deeper >= 0:
                    # looked at once more when it is done, for what it could reach
                    work += [(at, place), (deeper, self._first[deeper])]
                elif low[at] == order[at]:
                    part: list[int] = []
                    while not part or part[-1] != at:
                        part.append(path.pop())
                        on_path[part[-1]] = 0
                    yield part


def walk(
    start: S, steps: Steps[S], weight: Callable[[str], int], chance: random.Random, most: int
) -> Iterator[tuple[str, S, S]]:
    """A random run: what was done, the state before and the state after, until nothing can be done."""
    state = start
    for _ in range(most):
        options = [(name, after) for name, after in steps(state) if after != state]
        if not options:
            return
        ((name, after),) = chance.choices(options, [weight(name) for name, _ in options])
        yield name, state, after
        state = after
