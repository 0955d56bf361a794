"""Hooks: commands that are submitted by the daemons themselves when a role changes hands or a node is dead.

    @ops.on_role_acquired("billing")     ──►  spec.hook "role_acquired:billing"   ──►  one job for each term
    [roles] on_acquired = ["program"]    ──►  the command roles.acquired

A hook is an ordinary command, its run an ordinary job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from stoker.model import argv
from stoker.model.command import Command, CommandSpec, Isolation, check_name
from stoker.model.definition import define
from stoker.model.errors import AppError

ACQUIRED, LOST, NODE_DEAD = "role_acquired", "role_lost", "node_dead"
_ROLE = ("event", "role", "term", "node", "boot")
FACTS = {ACQUIRED: _ROLE, LOST: _ROLE, NODE_DEAD: ("event", "node", "boot", "host", "pid", "heartbeat", "roles")}
"""What a hook of each kind may take as its input."""
OPTIONS: dict[str, Any] = {"retries": 5, "callers": ("script",)}
"""What hooks have for options where nothing else is said."""
PRODUCT = "roles"
"""The product of the programs that the settings name."""
PROGRAMS = {"acquired": ACQUIRED, "lost": LOST, "node_dead": NODE_DEAD}


class Program(msgspec.Struct, frozen=True):
    """A program that the settings name as a hook: its command's own name, and its words."""

    name: str
    words: tuple[str, ...]


def as_hook(spec: CommandSpec, kind: str, role: str | None) -> CommandSpec:
    """A command as a hook. One for the new holder of a role runs on that holder. Raises :class:`AppError` when it
    wants an input that hooks of this kind do not have."""
    needs = _shape(spec).get("required", ())
    unknown = [name for name in needs if name not in FACTS[kind]]
    if unknown:
        raise AppError(
            f"hook {spec.name}: it is given {', '.join(FACTS[kind])}, and nothing called {', '.join(unknown)}"
        )
    name = check_name("role", role) if role else ""
    gate = name if kind == ACQUIRED else ""
    return msgspec.structs.replace(spec, hook=f"{kind}:{name}", role=spec.role or gate)


def wanting(specs: Iterable[CommandSpec], kind: str, role: str = "") -> list[CommandSpec]:
    """The hooks that what happened is for."""
    return [spec for spec in specs if spec.hook in (f"{kind}:", f"{kind}:{role}")]


def is_for(spec: CommandSpec, kind: str) -> bool:
    return spec.hook.startswith(f"{kind}:")


def input_of(spec: CommandSpec, facts: dict[str, Any]) -> bytes:
    """The facts that a hook takes, as its input."""
    shape = _shape(spec)
    if shape.get("additionalProperties") is False:
        facts = {name: fact for name, fact in facts.items() if name in shape.get("properties", {})}
    return msgspec.json.encode(facts)


def programs(acquired: Sequence[str], lost: Sequence[str], node_dead: Sequence[str]) -> tuple[Program, ...]:
    given = zip(PROGRAMS, (acquired, lost, node_dead), strict=True)
    return tuple(Program(name, tuple(words)) for name, words in given if words)


def commands(programs: Iterable[Program]) -> list[Command[..., Any]]:
    """The commands that run these programs. Raises :class:`AppError` for a list that makes no sense."""
    found = []
    for program in programs:
        function = argv.template(program.name, program.words)
        made = define(PRODUCT, function, name=program.name, isolation=Isolation.SCRIPT, **OPTIONS)
        spec, signature, rules = made
        spec, signature = argv.as_script(as_hook(spec, PROGRAMS[program.name], None), signature, "exit")
        found.append(Command(function, spec, signature, rules))
    return found


def _shape(spec: CommandSpec) -> dict[str, Any]:
    """The schema of the input, looked up where it is a reference."""
    schema = spec.schema
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return dict(schema["$defs"][name]) if name else schema
