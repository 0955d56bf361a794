"""A schedule: what is to be run, when, and what happens when that cannot be.

Here an entry of a schedule file, or of ``@product.cron``, is read and checked; :mod:`stoker.model.cron` says when it is
due. Every text and number has a bound, so that a hostile file costs nothing.
"""

from __future__ import annotations

import shlex
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from stoker.model.cron import REBOOT, Cron, cron
from stoker.model.hint import did_you_mean
from stoker.model.schedule_keys import KINDS, NAME_MAX, READERS, WAITING, Kind, Overlap, shown, what

TIMEOUT = 7200.0
"""Seconds that a run may take where nothing else is said: two hours."""
_KEYS = frozenset((*READERS, *KINDS, "shell"))
_OF_KINDS = {
    "input": (Kind.JOB,),
    "environment": (Kind.CRON, Kind.COMMAND),
    "headers": (Kind.URL,),
    "shell": (Kind.COMMAND,),
    "as_root": (Kind.COMMAND,),
}
"""Keys that mean something for some kinds only."""
_ANYWHERE = (Kind.JOB, Kind.HEARTBEAT)
"""Kinds that no node runs for itself."""
PRODUCT = "cron"
"""The product that the commands for scripts, programs and addresses belong to."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One schedule. Times are seconds; ``where`` is the place it was read from, for messages."""

    name: str
    schedule: str
    kind: Kind
    what: str | tuple[str, ...]
    """The command's name, the script and its arguments, the program and its arguments, or the address. One text for a
    program means that a shell reads it."""
    active: bool = True
    tz: str = "UTC"
    timeout: float | None = None
    """None: as its command says, or the settings."""
    overlap: Overlap = Overlap.SKIP
    waiting: int = WAITING
    """How many runs may wait for their turn where slots queue."""
    jitter: float = 0.0
    catch_up: int = 0
    """How many of the slots that were missed are fired later, the newest first of all."""
    priority: int | None = None
    retries: int | None = None
    memory: int | None = None
    role: str = ""
    every_node: bool = False
    """Whether each node runs it for itself."""
    input: dict[str, Any] = {}
    environment: dict[str, str] = {}
    headers: dict[str, str] = {}
    as_root: bool = False
    monitor: bool | dict[str, Any] | None = None
    """Whether it is watched, and what for; None: as the settings say."""
    where: str = ""

    @property
    def cron(self) -> Cron:
        return cron(self.schedule, self.tz)

    @property
    def fingerprint(self) -> str:
        """What its slots follow from; with another one it begins anew."""
        return f"{self.schedule} {self.tz} {'on' if self.active else 'off'}"

    @property
    def at_start(self) -> bool:
        """Whether it is due at each start of a daemon, and at no other time."""
        return self.schedule.lower() == REBOOT

    @property
    def shown(self) -> str:
        """What it runs, for people."""
        return self.what if isinstance(self.what, str) else shlex.join(self.what)

    def delay(self, node: str = "") -> float:
        """How long after each slot its job is submitted: the same for every slot, on every node, after every start."""
        return self.jitter * zlib.crc32(f"{self.name}@{node}".encode()) / 2**32


_COMMANDS = {Kind.CRON: "script", Kind.COMMAND: "argv", Kind.URL: "url"}


def command_of(entry: Entry, node: str, roles: Collection[str]) -> str:
    """The command that carries out an entry: its own, or one of :data:`PRODUCT`, bound to this node or to its role
    where the entry is. ``roles`` are those that have holders; without them every role is every node's."""
    if entry.kind is Kind.JOB:
        return entry.shown
    name = f"{PRODUCT}.{_COMMANDS[entry.kind]}"
    if entry.every_node:
        return f"{name}@{node}"
    return f"{name}/{entry.role}" if entry.role in roles else name


def is_ours(command: str) -> bool:
    """Whether a command is one of :data:`PRODUCT`."""
    product, _, name = command.partition(".")
    return product == PRODUCT and name.partition("@")[0].partition("/")[0] in _COMMANDS.values()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say about running entries."""

    root: str
    crons: str
    interpreter: str = ""
    base_url: str = ""
    hosts: tuple[str, ...] = ()
    as_root: bool = False


class Filled(msgspec.Struct, frozen=True):
    """An entry and where it runs, from a node's own files."""

    entry: Entry
    place: Place


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What entries mean that do not say otherwise."""

    tz: str = "UTC"
    shell: bool = False
    """Whether a command with characters of a shell is given to one without being told."""
    role: str = ""
    every_node: bool = False


def read(table: Any, defaults: Defaults, where: str = "") -> Entry:
    """An entry from what stands in a file. Raises ValueError with one sentence: which key is wrong, and why."""
    if not isinstance(table, Mapping):
        raise ValueError(f"an entry is an object with name and schedule, not {shown(table)}")
    _known(table)
    found: dict[str, Any] = {"tz": defaults.tz, "role": defaults.role}
    for key, told in table.items():
        if key in READERS:
            found[key] = _read(key, told)
    kind = _kind(table)
    found["every_node"] = found.get("every_node", defaults.every_node and kind not in _ANYWHERE and "role" not in table)
    found["what"] = what(kind, table, defaults.shell)
    for key in ("name", "schedule"):
        if key not in found:
            raise ValueError(f"{key} is missing")
    cron(found["schedule"], found["tz"])
    entry = Entry(kind=kind, where=where, **found)
    _check_together(entry, table)
    return entry


def declared_by(command: str, table: Mapping[str, Any], defaults: Defaults, where: str) -> Entry:
    """The entry that ``@product.cron`` means. Raises ValueError."""
    return read({"name": command, **table, "job": command}, defaults, where)


def _known(table: Mapping[str, Any]) -> None:
    for key in table.keys() - _KEYS:
        raise ValueError(f"there is no key {str(key)[:NAME_MAX]!r}{did_you_mean(str(key), _KEYS)}")


def _kind(table: Mapping[str, Any]) -> Kind:
    given = [kind for kind in KINDS if kind in table]
    if len(given) != 1:
        both = f"it has {' and '.join(given)}" if given else "it has none of them"
        raise ValueError(f"an entry has exactly one of {', '.join(KINDS)}; {both}")
    return Kind(given[0])


def _check_together(entry: Entry, table: Mapping[str, Any]) -> None:
    for key in table.keys() & _OF_KINDS.keys():
        if entry.kind not in _OF_KINDS[key]:
            raise ValueError(f"{key} means nothing for a {entry.kind}")
    if entry.at_start and (entry.kind is Kind.HEARTBEAT or entry.jitter or entry.catch_up):
        raise ValueError(f"{REBOOT} is no moment that could be waited for: it has no heartbeat, jitter or catch_up")
    if "waiting" in table and entry.overlap is not Overlap.QUEUE:
        raise ValueError(f"waiting means nothing where overlap is {entry.overlap}; it is for queue")
    if entry.every_node and entry.role:
        raise ValueError("what every node runs for itself has no role")
    if entry.every_node and entry.kind in _ANYWHERE:
        raise ValueError("a registered command runs on any node; every_node is for cron, command and url")


def _read(key: str, told: Any) -> Any:
    try:
        return READERS[key](told)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
