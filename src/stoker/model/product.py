"""A product: a named family of commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stoker.model.command import Command, check_name
from stoker.model.errors import AppError


class Catalog:
    """The commands of one product by their own name; the part of a product that every process needs."""

    def __init__(self, name: str) -> None:
        self.name = check_name("product", name)
        self._commands: dict[str, Command[Any, Any]] = {}

    def add(self, command: Command[Any, Any]) -> None:
        """Register; a name may be taken once, or again by the same function read anew from its file."""
        there = self._commands.get(command.name)
        if there is not None and there.origin != command.origin:
            raise AppError(f"{command.name} is registered twice: in {there.origin} and in {command.origin}")
        self._commands[command.name] = command

    @property
    def commands(self) -> dict[str, Command[Any, Any]]:
        return dict(self._commands)

    def __iter__(self) -> Iterator[Command[Any, Any]]:
        return iter(self._commands.values())

    def __repr__(self) -> str:
        return f"<product {self.name}: {len(self._commands)} commands>"
