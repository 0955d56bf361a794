"""Every setting: its name, kind, default, bounds, and what it means. Settings of one part are a table of their own,
``web.listen`` is ``listen`` in the table ``[web]`` of ``stoker.toml``, and ``STOKER_WEB_LISTEN``."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from stoker.model.addresses import without_password

FILE = "stoker.toml"
SQLITE = "sqlite:///"
POSTGRES = ("postgresql://", "postgres://")
FOLDER = ".stoker"
PRODUCTS = ("config/products.json", "products.json")
"""Where a project's file of products is found."""
SOCKET_PATH_MAX = 107
"""Bytes that fit in ``sockaddr_un`` (Linux, unix(7): 108 with the closing zero)."""
SECRET_LEAST = 32
"""Characters of a key that signs tokens, at least."""
WEB_LISTEN = "http://127.0.0.1:8765"
"""Where ``--web`` listens when nothing else is said."""


class Web(msgspec.Struct, frozen=True, kw_only=True):
    """The table ``[web]``: the bridge to browsers."""

    listen: tuple[str, ...] = ()
    native: tuple[str, ...] = ()
    auth: str = ""
    secret: str = ""
    origins: tuple[str, ...] = ()
    tick: float = 10.0
    life: float = 600.0
    token_life: float = 900.0
    max_streams: int = 20_000
    keep: float = 600.0


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """The table ``[stats]``: figures over time."""

    every: float = 5.0
    keep: float = 3 * 86400.0


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """The table ``[roles]``: duties of which each is one node's."""

    names: tuple[str, ...] = ()
    policy: str = "cover"
    reap_after: float = 30.0
    claim_after: float = 30.0
    store: str = ""
    on_acquired: tuple[str, ...] = ()
    on_lost: tuple[str, ...] = ()
    on_node_dead: tuple[str, ...] = ()


class Schedules(msgspec.Struct, frozen=True, kw_only=True):
    """The table ``[schedules]``: what runs at its time."""

    folder: str = "schedules"
    env: str = ""
    by: str = "daemon"
    profile: str = "plain"
    timezone: str = "UTC"
    timeout: float = 7200.0
    grace: float = 60.0
    crons: str = "crons"
    interpreter: str = ""
    shell: bool = False
    as_root: bool = False
    base_url: str = "http://localhost"
    hosts: tuple[str, ...] = ()
    keep: float = 90 * 86400.0


class Monitors(msgspec.Struct, frozen=True, kw_only=True):
    """The table ``[monitors]``: whether schedules do what they should, and who is told."""

    all: bool = False
    margin: float = 300.0
    longest: float = 0.0
    failures: int = 1
    remind: float = 86400.0
    users: tuple[str, ...] = ()
    webhook: str = ""
    webhook_key: str = ""
    mail_to: tuple[str, ...] = ()
    mail_from: str = "stoker@localhost"
    smtp: str = "smtp://localhost:25"
    smtp_user: str = ""
    smtp_password: str = ""
    sentry: str = ""
    hosts: tuple[str, ...] = ()


PROFILES: Mapping[str, Mapping[str, Any]] = types.MappingProxyType(
    {
        "plain": {},
        "002": {
            "schedules.timezone": "America/Chicago",
            "schedules.shell": True,
            "schedules.as_root": True,
            "roles.policy": "exclusive",
            "roles.reap_after": 270.0,
            "roles.claim_after": 420.0,
        },
    }
)
"""Defaults that belong together, by ``schedules.profile``."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. :data:`ABOUT` says in words what each field means."""

    root: Path
    app: tuple[str, ...] = ()
    store: str = ""
    socket: str = ""
    listen: tuple[str, ...] = ()
    token: str = ""
    prefix: str = "stoker"
    node: str = ""
    labels: tuple[str, ...] = ()
    consumers_max: int = 10
    spares: int = 2
    max_tasks: int = 0
    memory: int = 0
    grace: float = 0.0
    kill_grace: float = 5.0
    lease: float = 30.0
    look: float = 5.0
    keep_jobs: float = 14 * 86400.0
    keep_events: float = 3 * 86400.0
    keep_audit: float = 365 * 86400.0
    max_input: int = 16 << 20
    max_output: int = 10 << 20
    max_clients: int = 1000
    log_level: str = "info"
    log_format: str = "text"
    log_file: str = ""
    start_delay: float = 15.0
    products: dict[str, dict[str, Any]] = {}
    mode: str = "development"
    web: Web = Web()
    stats: Stats = Stats()
    roles: Roles = Roles()
    schedules: Schedules = Schedules()
    monitors: Monitors = Monitors()

    @property
    def folder(self) -> Path:
        return self.root / FOLDER

    @property
    def store_path(self) -> Path | None:
        """The store's file; None for a server."""
        return Path(self.store.removeprefix(SQLITE)) if self.store.startswith(SQLITE) else None

    @property
    def store_shown(self) -> str:
        """The store's address for people and logs, without its password."""
        return self.store if self.store_path is not None else without_password(self.store)

    @property
    def roles_store_shown(self) -> str:
        """The same for the store of roles, if it has one of its own."""
        store = self.roles.store
        return without_password(store) if store.startswith(POSTGRES) else store

    @property
    def socket_path(self) -> Path:
        return Path(self.socket.removeprefix("unix://"))


TABLES: Mapping[str, type[msgspec.Struct]] = types.MappingProxyType(
    {"web": Web, "stats": Stats, "roles": Roles, "schedules": Schedules, "monitors": Monitors}
)


def _kinds() -> Iterator[tuple[str, Any]]:
    for name, kind in typing.get_type_hints(Settings).items():
        if name in TABLES:
            yield from ((f"{name}.{inner}", hint) for inner, hint in typing.get_type_hints(TABLES[name]).items())
        else:
            yield name, kind


KINDS: Mapping[str, Any] = types.MappingProxyType(dict(_kinds()))
"""The type of every setting, by its whole name, in order."""


def variable(name: str) -> str:
    """The name of a setting in the environment."""
    return f"STOKER_{name.replace('.', '_').upper()}"


def value(settings: Settings, name: str) -> Any:
    """A setting by its whole name."""
    table, _, inner = name.rpartition(".")
    return getattr(getattr(settings, table) if table else settings, inner)


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The same settings but for these, by their whole names."""
    return msgspec.structs.replace(settings, **in_tables(values, settings))


def in_tables(values: Mapping[str, Any], base: Settings | None = None) -> dict[str, Any]:
    """What a :class:`Settings` is made of, from values by their whole names; tables begin as in ``base``."""
    found: dict[str, Any] = {name: found for name, found in values.items() if "." not in name}
    for table, kind in TABLES.items():
        inner = {name.partition(".")[2]: found for name, found in values.items() if name.startswith(f"{table}.")}
        before = kind() if base is None else getattr(base, table)
        found[table] = msgspec.structs.replace(before, **inner)
    return found
