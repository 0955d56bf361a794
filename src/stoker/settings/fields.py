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


FIXED = frozenset({"root", "store", "socket", "listen", "prefix", "node", "log_file", "log_format", "log_level",
                   "web.listen", "web.native", "web.auth", "web.secret", "web.origins",
                   "web.tick", "web.token_life", "web.max_streams", "roles.store", "schedules.by"})  # fmt: skip
"""Settings that only a restart changes."""


class Current:
    """The settings in force in a running daemon; call it to read them. A reload may replace them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self) -> Settings:
        return self._settings

    def replace(self, new: Settings) -> list[str]:
        """Take over what may change while running; the names of changed settings that need a restart."""
        late = sorted(name for name in FIXED if value(new, name) != value(self._settings, name))
        self._settings = with_values(new, {name: value(self._settings, name) for name in late})
        return late


ABOUT: Mapping[str, str] = types.MappingProxyType(
    {
        "root": "the project's folder; modules of the application are imported from here",
        "app": "what to run: module or module:attribute, one or several",
        "store": "where jobs are kept: sqlite:///path, or postgresql://user@host/database for many machines",
        "socket": "where clients connect: a path",
        "listen": "further addresses: tcp://host:port (needs a token)",
        "token": "secret that TCP clients must show",
        "prefix": "first word of process titles",
        "node": "name of this daemon in logs and lists; several machines, several names",
        "labels": "what this node can do beyond others; commands that ask for a label run only where it is given",
        "consumers_max": "most processes that run jobs at one time",
        "spares": "consumers kept forked ahead, so that a job does not wait for a fork",
        "max_tasks": "if more than 0: run jobs in one resident, so many at a time, instead of a process each",
        "memory": "memory limit of a job whose command sets none, bytes; 0 for no limit",
        "grace": "seconds a stopping daemon waits for running jobs before it ends them; 0 for no limit",
        "kill_grace": "seconds between asking a job to stop and SIGTERM, and then SIGKILL",
        "lease": "seconds after which a silent daemon's jobs are taken for lost",
        "look": "seconds between looks for whatever a lost wake-up left behind",
        "keep_jobs": "seconds that ended jobs are kept",
        "keep_events": "seconds that logs and output of ended jobs are kept",
        "max_input": "most bytes of a job's input or result",
        "max_output": "most bytes a job may say (captured output, log, stream, events); the rest is cut with a mark",
        "max_clients": "most connections at one time",
        "log_level": "debug, info, warning or error",
        "log_format": "text or json",
        "log_file": "write the log here too; none by default",
        "start_delay": "most seconds `stoker worker` waits for the store before it starts",
        "products": "workers of products: the path of a products.json, or tables of options by product",
        "mode": "development: changed source is seen by the next job; production: only by a reload",
        "web.listen": "where browsers connect: http://host:port or a socket's path; none by default",
        "web.native": "where browsers connect for streams alone, many thousands of them: http://host:port or a path",
        "web.auth": "who a browser's user is: module:function, called with each request",
        "web.secret": "key that signs tokens, 32 characters or more; if empty, one is made and kept in .stoker/web.key",
        "web.origins": "further origins (https://app.example.org) whose pages may use the bridge",
        "web.tick": "seconds between signs of life on a quiet stream",
        "web.token_life": "seconds that a token is good for",
        "web.max_streams": "most open streams of browsers; one more is refused with status 503",
        "web.keep": "seconds that events for browsers can be asked for again",
        "stats.every": "seconds between samples of what the machine, the workers and the jobs do",
        "stats.keep": "seconds that figures of each minute are kept; those of each sample are kept for an hour at most",
        "roles.names": "the roles, in their order; each is held by one node",
        "roles.policy": "cover: the nodes there are share all roles; exclusive: a node holds one, others wait",
        "roles.reap_after": "seconds after which a silent node is taken for dead, and its roles are free",
        "roles.claim_after": "seconds after which a silent node's roles may be claimed though nobody reaped it",
        "roles.store": "where roles are kept, as in `store`; with the jobs by default",
        "roles.on_acquired": "program and arguments that run when a role has a new holder",
        "roles.on_lost": "program and arguments that run when a holder has lost a role",
        "roles.on_node_dead": "program and arguments that run when a node was taken for dead",
        "schedules.folder": "folder of cron.ENV.json and cron.ENV.ROLE.json, or the same in TOML",
        "schedules.env": "the environment whose files are read; else the variable ENVIRONMENT says it",
        "schedules.by": "who runs them: daemon, or crontab (the daemon then leaves files to the system's cron)",
        "schedules.profile": "defaults that belong together: plain or 002",
        "schedules.timezone": "time zone of entries that name none",
        "schedules.timeout": "most seconds of a run whose entry says nothing",
        "schedules.grace": "seconds a slot may be late and still be fired, whatever its entry says about catching up",
        "schedules.crons": "where the scripts of entries are, from the project's folder",
        "schedules.interpreter": "program that runs these scripts; if empty, this Python, within the job's own process",
        "schedules.shell": "true: a command with characters of a shell is given to /bin/sh without its entry saying so",
        "schedules.as_root": "true: where the daemon is root, programs of entries run as root without saying so",
        "schedules.base_url": "what addresses that begin with / are added to",
        "schedules.hosts": "hosts and networks (10.0.0.0/8) of the inside that addresses may lead to",
        "schedules.keep": "seconds that decided slots are kept",
        "monitors.all": "true: every schedule is watched; else those whose entry has the key monitor",
        "monitors.margin": "seconds after its slot that a run must have started in, or it is late",
        "monitors.longest": "seconds after which a run takes too long; 0 for no alarm before its time limit",
        "monitors.failures": "failed runs in a row that are an alarm",
        "monitors.remind": "seconds until an alarm that goes on is told again; 0 for never",
        "monitors.users": "users of the bridge whose tabs get the event alert",
        "monitors.webhook": "address that alerts are sent to, as JSON",
        "monitors.webhook_key": "key that signs them, as a reference: ${env:NAME}, ${file:PATH}, ${credential:NAME}",
        "monitors.mail_to": "who gets alerts by e-mail",
        "monitors.mail_from": "from whom these come",
        "monitors.smtp": "the mail server: smtp://host:port, smtp+starttls:// or smtps://",
        "monitors.smtp_user": "who we are there; nobody by default",
        "monitors.smtp_password": "with which password, as a reference",
        "monitors.sentry": "DSN of a Sentry project for check-ins and alerts, as a reference",
        "monitors.hosts": "hosts and networks of the inside that the webhook and Sentry may be at",
    }
)

SIZES = frozenset({"memory", "max_input", "max_output"})
TIMES = frozenset({"grace", "kill_grace", "lease", "look", "keep_jobs", "keep_events", "start_delay",
                    "web.tick", "web.token_life", "web.keep", "stats.every", "stats.keep",
                    "roles.reap_after", "roles.claim_after",
                    "schedules.timeout", "schedules.grace", "schedules.keep",
                    "monitors.margin", "monitors.longest", "monitors.remind"})  # fmt: skip
CHOICES = {"log_level": ("debug", "info", "warning", "error"), "log_format": ("text", "json"),
            "mode": ("development", "production"), "roles.policy": ("cover", "exclusive"),
            "schedules.by": ("daemon", "crontab"), "schedules.profile": tuple(PROFILES)}  # fmt: skip
LEAST: dict[str, float] = {
    "consumers_max": 1,
    "spares": 0,
    "max_tasks": 0,
    "max_clients": 1,
    "kill_grace": 0.1,
    "lease": 1.0,
    "look": 0.05,
    "web.tick": 0.1,
    "web.token_life": 1,
    "web.max_streams": 1,
    "web.keep": 1,
    "stats.every": 0.1,
    "stats.keep": 1,
    "roles.reap_after": 1.0,
    "roles.claim_after": 1.0,
    "schedules.timeout": 1.0,
    "schedules.grace": 0.0,
    "schedules.keep": 3600.0,
    "monitors.margin": 1.0,
    "monitors.failures": 1,
}


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
