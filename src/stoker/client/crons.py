"""``@product.cron``: a schedule as the code declares it."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.model.command import Command, CommandSpec
from stoker.model.errors import AppError, InvalidInput
from stoker.model.schedule import Defaults, declared_by


def declared(command: Command[..., Any], table: dict[str, Any]) -> CommandSpec:
    """The command's spec with one more entry. Raises :class:`AppError`."""
    spec = command.spec
    try:
        entry = declared_by(spec.name, table, Defaults(), "")
        command.signature.pack((), entry.input)
    except (ValueError, InvalidInput) as error:
        raise AppError(f"command {spec.name}: @cron: {error}") from None
    if any(other.get("name", spec.name) == entry.name for other in spec.crons):
        raise AppError(f"command {spec.name}: @cron: the name {entry.name!r} is there twice; give one of them a name")
    return msgspec.structs.replace(spec, crons=(*spec.crons, table))
