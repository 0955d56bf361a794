"""What a forked child has to make anew: another thread, which the child has not, may have held a lock at the fork."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
_owners: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def in_child(owner: T, anew: Callable[[T], None]) -> None:
    """Have ``anew(owner)`` called in every process that is forked while ``owner`` lives."""
    _owners[owner] = anew


def _after_fork() -> None:
    for owner, anew in list(_owners.items()):
        anew(owner)


os.register_at_fork(after_in_child=_after_fork)
