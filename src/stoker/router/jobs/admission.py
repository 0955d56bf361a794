"""Whether a request may become a job: known command, allowed caller, input in bounds and of the right type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import fastjsonschema
import msgspec

from stoker.model.command import CommandSpec
from stoker.model.errors import InvalidInput, NotAllowed, PayloadTooLarge, UnknownCommand
from stoker.model.job import Submission
from stoker.model.product import unknown
from stoker.model.request import Request, resolve
from stoker.settings import Current


class Admission:
    """Turns requests into submissions. Input that its sender has checked against the same types is not checked
    again; any other is checked against the command's schema, so that a mistake is told before anything is stored."""

    def __init__(self, commands: Callable[[], Mapping[str, CommandSpec]], settings: Current) -> None:
        self._commands = commands
        self._settings = settings
        self._checks: dict[str, Callable[[Any], Any]] = {}

    def admit(self, request: Request, role: str, now: float) -> Submission:
        """Raises a RequestError that says what to change."""
        spec = self.spec(request.command)
        if role not in spec.callers and role != "job":
            raise NotAllowed(spec.closed_to(role))
        request.check_size(self._settings().max_input)
        if request.checked != spec.fingerprint:
            self._check(spec, bytes(request.input))
        return resolve(request, spec, now)

    def spec(self, name: str) -> CommandSpec:
        """Raises :class:`UnknownCommand`, with names that look like it."""
        commands = self._commands()
        spec = commands.get(name)
        if spec is not None:
            return spec
        near = [known for known in commands if known.endswith(f".{name.rpartition('.')[2]}")]
        hint = f"; did you mean {' or '.join(sorted(near)[:3])}?" if near else ""
        raise UnknownCommand(f"{unknown(name, commands)}{hint}")

    def _check(self, spec: CommandSpec, input: bytes) -> None:
        try:
            value = msgspec.json.decode(input)
        except RecursionError:
            raise PayloadTooLarge("the input is nested too deep") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the input is not JSON: {error}") from None
        check = self._checks.get(spec.fingerprint)
        if check is None:
            check = self._checks[spec.fingerprint] = fastjsonschema.compile(spec.schema, use_default=False)
        try:
            check(value)
        except fastjsonschema.JsonSchemaException as error:
            message = str(error).replace("data.", "", 1).replace("data ", "the input ", 1)
            raise InvalidInput(f"{spec.name}: {message}") from None
