"""A product: a named family of commands, with the workers that run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, Unpack
from weakref import WeakValueDictionary

from stoker.model.command import Command, check_name
from stoker.model.errors import AppError
from stoker.model.pool import PoolOptions, declare

Hook = TypeVar("Hook", bound=Callable[[], Any])

registered: WeakValueDictionary[str, Command[Any, Any]] = WeakValueDictionary()
"""The commands whose code this program has, by full name: what a dispatch by name can run inline."""


class Catalog:
    """The commands of one product by their own name; the part of a product that every process needs."""

    def __init__(self, name: str, **pool: Unpack[PoolOptions]) -> None:
        self.name = check_name("product", name)
        self.pool = declare(self.name, pool)
        self._commands: dict[str, Command[Any, Any]] = {}
        self._hook: Callable[[], Any] | None = None

    def add(self, command: Command[Any, Any]) -> None:
        """Register; a name may be taken once, or again by the same function read anew from its file."""
        there = self._commands.get(command.name)
        if there is not None and there.origin != command.origin:
            raise AppError(f"{command.name} is registered twice: in {there.origin} and in {command.origin}")
        self._commands[command.name] = command
        registered[command.name] = command
        command.home = self

    def resident(self, function: Hook) -> Hook:
        """Make what stays warm: ``@product.resident`` on a generator function. It runs once in each worker before the
        first job; what it yields is ``ctx.resident`` there, and the rest runs when the worker ends. Where each job has
        a process of its own it runs for each job. A product has one."""
        if self._hook is not None and _origin(self._hook) != _origin(function):
            both = f"{_origin(self._hook)} and {_origin(function)}"
            raise AppError(f"product {self.name} has two start hooks, {both}; it may have one")
        self._hook = function
        return function

    def start_hook(self) -> Callable[[], Any] | None:
        """What :meth:`resident` was given."""
        return self._hook

    @property
    def commands(self) -> dict[str, Command[Any, Any]]:
        return dict(self._commands)

    def __iter__(self) -> Iterator[Command[Any, Any]]:
        return iter(self._commands.values())

    def __repr__(self) -> str:
        return f"<product {self.name}: {len(self._commands)} commands>"


def no_action(product: str, action: str) -> str:
    """What the base class says to an action that a product does not know; whoever else finds out says the same."""
    return f"the product {product} has no action {action!r}"


def unknown(name: str, known: Iterable[str]) -> str:
    """Why there is no such command among those."""
    product, _, action = name.partition(".")
    if any(one.startswith(f"{product}.") for one in known):
        return f"{name}: {no_action(product, action)}"
    return f"no product registers {name!r}"


def _origin(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}"
