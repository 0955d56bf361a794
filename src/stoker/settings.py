"""The settings: one frozen object, from ``stoker.toml``, then ``STOKER_*``, then flags; the later wins.

A project is a folder: the nearest one upward that holds ``stoker.toml`` or ``.stoker``, else the current one. Unless
told otherwise the daemon keeps everything in ``.stoker/`` there (mode 0700), so that every command typed inside a
project finds its daemon, and two projects never meet.
"""

from __future__ import annotations

import os
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from stoker.model import pool, quantities
from stoker.model.addresses import without_password
from stoker.model.errors import SettingsError

FILE = "stoker.toml"
SQLITE = "sqlite:///"
POSTGRES = ("postgresql://", "postgres://")
FOLDER = ".stoker"
PRODUCTS = ("config/products.json", "products.json")
"""Where a project's file of products is found."""
SOCKET_PATH_MAX = 107
"""Bytes that fit in ``sockaddr_un`` (Linux, unix(7): 108 with the closing zero)."""


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
    def socket_path(self) -> Path:
        return Path(self.socket.removeprefix("unix://"))


FIXED = frozenset({"root", "store", "socket", "listen", "prefix", "node", "log_file", "log_format", "log_level"})
"""Settings that only a restart changes."""


class Current:
    """The settings in force in a running daemon; call it to read them. A reload may replace them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self) -> Settings:
        return self._settings

    def replace(self, new: Settings) -> list[str]:
        """Take over what may change while running; the names of changed settings that need a restart."""
        kept = {name: getattr(self._settings, name) for name in FIXED}
        late = sorted(name for name, value in kept.items() if getattr(new, name) != value)
        self._settings = msgspec.structs.replace(new, **kept)
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
    }
)

_SIZES = frozenset({"memory", "max_input", "max_output"})
_TIMES = frozenset({"grace", "kill_grace", "lease", "look", "keep_jobs", "keep_events", "start_delay"})
_CHOICES = {"log_level": ("debug", "info", "warning", "error"), "log_format": ("text", "json"),
            "mode": ("development", "production")}  # fmt: skip
_LEAST: dict[str, float] = {
    "consumers_max": 1,
    "spares": 0,
    "max_tasks": 0,
    "max_clients": 1,
    "kill_grace": 0.1,
    "lease": 1.0,
    "look": 0.05,
}


def find_root(start: Path) -> Path:
    """The project that ``start`` lies in."""
    for folder in (start, *start.parents):
        if (folder / FILE).is_file() or (folder / FOLDER).is_dir():
            return folder
    return start


def as_environ(settings: Settings, base: Settings) -> dict[str, str]:
    """The variables that make :func:`load` find ``settings`` where it finds ``base`` without them."""
    found = {}
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        if value != getattr(base, name):
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            found[f"STOKER_{name.upper()}"] = msgspec.json.encode(value).decode() if name == "products" else text
    return found


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> Settings:
    """Read the settings. ``flags`` holds only what was given; None values are left out.

    Raises :class:`SettingsError`, naming the setting, where it was set, and what would be right.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    start = Path(given.get("root") or environ.get("STOKER_ROOT") or find_root((cwd or Path.cwd()).absolute()))
    values: dict[str, Any] = {"root": start.absolute()}
    products = _found_products(start)
    for source, found in (
        (str(start / FILE), _from_file(start / FILE)),
        ("the environment", _from_environ(environ)),
        ("the command line", given),
    ):
        for name, value in found.items():
            if name == "products":
                products = _products(products, value, start, source)
            else:
                values[name] = _read(name, value, source)
    return _complete({**values, "products": products})


def _found_products(root: Path) -> dict[str, dict[str, Any]]:
    """The project's ``products.json``, if it has one."""
    path = next((root / name for name in PRODUCTS if (root / name).is_file()), None)
    return {} if path is None else _products_file(path)


def _products(before: dict[str, dict[str, Any]], value: Any, root: Path, source: str) -> dict[str, dict[str, Any]]:
    """What a place says about products: the path of a file instead of the one that was found, or tables of options,
    which win over those of the file."""
    try:
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            return _products_file(root / value)
        where = f"{source}: products"
        told = pool.read_json(value, where) if isinstance(value, str) else pool.read_tables(value, where)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return {**before, **{name: {**before.get(name, {}), **table} for name, table in told.items()}}


def _products_file(path: Path) -> dict[str, dict[str, Any]]:
    try:
        return pool.read_json(path.read_text("utf-8"), str(path))
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text") from None
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _from_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    return {name.replace("-", "_"): value for name, value in found.items()}


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in Settings.__struct_fields__:
        text = environ.get(f"STOKER_{name.upper()}")
        if text is not None:
            found[name] = text
    if environ.get("DEBUG", "").lower() in ("1", "true", "yes") and "log_level" not in found:
        found["log_level"] = "debug"
    return found


_KINDS = typing.get_type_hints(Settings)


def _read(name: str, value: Any, source: str) -> Any:
    """One value as its field wants it; a flag, a variable and a TOML value may all be text."""
    if name not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise SettingsError(f"{source}: there is no setting {name!r}; known are {known}")
    try:
        if name in _SIZES:
            return 0 if value in (0, "0") else quantities.size(value)
        if name in _TIMES:
            value = quantities.seconds(value)
        kind = _KINDS[name]
        if kind == tuple[str, ...]:
            return tuple(value.replace(",", " ").split()) if isinstance(value, str) else tuple(map(_text, value))
        if kind is Path:
            return Path(value).absolute()
        if kind is int:
            return _bounded(name, _whole(value), source)
        value = _text(value) if kind is str else kind(value)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{source}: {name}: {error}") from None
    if name in _CHOICES and value not in _CHOICES[name]:
        raise SettingsError(f"{source}: {name}: {value!r} is none of {', '.join(_CHOICES[name])}")
    return _bounded(name, value, source)


def _whole(value: Any) -> int:
    try:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"a whole number is needed, not {value!r}")


def _text(value: Any) -> str:
    if isinstance(value, str | Path):
        return str(value)
    raise ValueError(f"text is needed, not {value!r}")


def _bounded(name: str, value: Any, source: str) -> Any:
    if name in _LEAST and value < _LEAST[name]:
        raise SettingsError(f"{source}: {name}: must be {_LEAST[name]:g} or more, not {value:g}")
    return value


def _complete(values: dict[str, Any]) -> Settings:
    """Fill in what follows from other values."""
    root: Path = values["root"]
    folder = root / FOLDER
    values["store"] = _store(values.get("store") or str(folder / "stoker.db"), root)
    place = str(values.get("socket") or folder / "stoker.sock").removeprefix("unix://")
    values["socket"] = place if Path(place).is_absolute() else str(root / place)
    if len(os.fsencode(values["socket"])) > SOCKET_PATH_MAX:
        raise SettingsError(
            f"socket: {values['socket']} is longer than the {SOCKET_PATH_MAX} bytes a Unix socket's path may have; "
            "set `socket` (or STOKER_SOCKET) to a shorter one"
        )
    for address in values.get("listen", ()):
        if not address.startswith("tcp://"):
            raise SettingsError(f"listen: {address!r} is not tcp://host:port")
    if values.get("listen") and not values.get("token"):
        raise SettingsError("listen: TCP needs a token; set STOKER_TOKEN to a long random text")
    if values.get("log_file"):
        values["log_file"] = str(root / values["log_file"])
    values["node"] = values.get("node") or os.uname().nodename
    return Settings(**values)


def _store(given: str, root: Path) -> str:
    if given.startswith(POSTGRES):
        return given
    if "://" in given and not given.startswith(SQLITE):
        raise SettingsError(
            f"store: {given.partition('://')[0]!r} is not a kind of store known here; use sqlite:///path or "
            "postgresql://user@host/database"
        )
    path = Path(given.removeprefix(SQLITE))
    return f"{SQLITE}{path if path.is_absolute() else root / path}"
