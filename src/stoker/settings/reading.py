"""The settings: one frozen object, from ``stoker.toml``, then ``STOKER_*``, then flags; the later wins.

A project is a folder: the nearest one upward that holds ``stoker.toml`` or ``.stoker``, else the current one. Unless
told otherwise the daemon keeps everything in ``.stoker/`` there (mode 0700), so that every command typed inside a
project finds its daemon, and two projects never meet.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from stoker.model import pool, quantities
from stoker.model.command import NAME
from stoker.model.errors import SettingsError
from stoker.settings import files
from stoker.settings.about import CHOICES, LEAST, SIZES, TIMES
from stoker.settings.fields import (
    FILE,
    FOLDER,
    KINDS,
    POSTGRES,
    PRODUCTS,
    PROFILES,
    SECRET_LEAST,
    SOCKET_PATH_MAX,
    SQLITE,
    TABLES,
    Settings,
    in_tables,
    value,
    variable,
)


def find_root(start: Path) -> Path:
    """The project that ``start`` lies in."""
    for folder in (start, *start.parents):
        # whatever bears the name: what is no file is told, not passed over
        if os.path.lexists(folder / FILE) or os.path.isdir(folder / FOLDER):
            return folder
    return start


def as_environ(settings: Settings, base: Settings) -> dict[str, str]:
    """The variables that make :func:`load` find ``settings`` where it finds ``base`` without them."""
    found = {}
    for name in KINDS:
        now = value(settings, name)
        if now != value(base, name):
            text = ",".join(now) if isinstance(now, tuple) else str(now)
            found[variable(name)] = msgspec.json.encode(now).decode() if name == "products" else text
    return found


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    products: bool = True,
) -> Settings:
    """Read the settings. ``flags`` holds only what was given; None values are left out. ``products=False`` leaves
    :attr:`Settings.products` empty and unread: only a daemon needs them, and a mistake there is to keep nobody from
    asking it, or from stopping it.

    Raises :class:`SettingsError`, naming the setting, where it was set, and what would be right.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    start = _root(given.get("root") or environ.get("STOKER_ROOT"), cwd)
    values: dict[str, Any] = {"root": start.absolute()}
    tables = _found_products(start) if products else {}
    for source, found in (
        (str(start / FILE), _from_file(start / FILE)),
        ("the environment", _from_environ(environ)),
        ("the command line", given),
    ):
        for name, told in found.items():
            if name == "products":
                tables = _products(tables, told, start, source) if products else {}
            else:
                values[name] = _read(name, told, source)
    profile = PROFILES[values.get("schedules.profile", "plain")]
    values.setdefault("schedules.env", environ.get("ENVIRONMENT", ""))
    return _complete({**profile, **values, "products": tables})


def _root(given: str | Path | None, cwd: Path | None) -> Path:
    """The project's folder: as it was given, or found from the working folder."""
    if given:
        if not Path(given).is_dir():
            raise SettingsError(f"root: there is no folder {given}")
        return Path(given)
    try:
        return find_root((cwd or Path.cwd()).absolute())
    except FileNotFoundError:
        raise SettingsError("the folder you are in is gone; go to another, or name the project with --root") from None


def altered(settings: Settings, values: Mapping[str, Any], source: str) -> Settings:
    """The same settings but for these, given as a file, a variable or a flag would. Raises :class:`SettingsError`, also
    where they make no sense together."""
    told = {name: _read(name, one, source) for name, one in values.items()}
    return _complete({**{name: value(settings, name) for name in KINDS}, **told})


def _found_products(root: Path) -> dict[str, dict[str, Any]]:
    """The project's ``products.json``, if it has one."""
    path = next((root / name for name in PRODUCTS if files.is_there(root / name)), None)
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
        return pool.read_json(files.text(path), str(path))
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _from_file(path: Path) -> dict[str, Any]:
    if not files.is_there(path):
        return {}
    try:
        return flat(tomllib.loads(files.text(path)))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None


def flat(found: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in a settings' file, by the whole names of settings."""
    values: dict[str, Any] = {}
    for name, told in found.items():
        name = name.replace("-", "_")
        if name in TABLES and isinstance(told, dict):
            values.update({f"{name}.{inner.replace('-', '_')}": one for inner, one in told.items()})
        else:
            values[name] = told
    return values


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in KINDS:
        text = environ.get(variable(name))
        if text is not None:
            found[name] = text
    if environ.get("DEBUG", "").lower() in ("1", "true", "yes") and "log_level" not in found:
        found["log_level"] = "debug"
    return found


def _read(name: str, told: Any, source: str) -> Any:
    """One value as its field wants it; a flag, a variable and a TOML value may all be text."""
    if name not in KINDS:
        raise SettingsError(f"{source}: {unknown(name)}")
    try:
        if name in SIZES:
            return 0 if told in (0, "0") else quantities.size(told)
        if name in TIMES:
            told = quantities.seconds(told)
        kind = KINDS[name]
        if kind == tuple[str, ...]:
            return tuple(told.replace(",", " ").split()) if isinstance(told, str) else tuple(map(_text, told))
        if kind is Path:
            return Path(told).absolute()
        if kind is bool:
            return _switch(told)
        if kind is int:
            return _bounded(name, _whole(told), source)
        told = _text(told) if kind is str else kind(told)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{source}: {name}: {error}") from None
    if name in CHOICES and told not in CHOICES[name]:
        raise SettingsError(f"{source}: {name}: {told!r} is none of {', '.join(CHOICES[name])}")
    return _bounded(name, told, source)


def unknown(name: str) -> str:
    """That there is no such setting, and which one may have been meant."""
    near = difflib.get_close_matches(name, KINDS, n=1) or _inner(name)
    hint = f"did you mean {' or '.join(near)}?" if near else "`stoker check` lists them all"
    return f"there is no setting {name!r}; {hint}"


def _inner(name: str) -> list[str]:
    """Settings of a table whose own name this is: ``reap_after`` is ``roles.reap_after``."""
    return [known for known in KINDS if known.partition(".")[2] == name]


def _whole(value: Any) -> int:
    try:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"a whole number is needed, not {value!r}")


def _switch(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    found = value if isinstance(value, bool) else words.get(str(value).lower())
    if found is None:
        raise ValueError(f"true or false is needed, not {value!r}")
    return found


def _text(value: Any) -> str:
    if isinstance(value, str | Path):
        return str(value)
    raise ValueError(f"text is needed, not {value!r}")


def _bounded(name: str, value: Any, source: str) -> Any:
    if name in LEAST and value < LEAST[name]:
        raise SettingsError(f"{source}: {name}: must be {LEAST[name]:g} or more, not {value:g}")
    return value


def _complete(values: dict[str, Any]) -> Settings:
    """Fill in what follows from other values."""
    root: Path = values["root"]
    folder = root / FOLDER
    values["store"] = _store(values.get("store") or str(folder / "stoker.db"), root)
    place = str(values.get("socket") or folder / "stoker.sock").removeprefix("unix://")
    if "://" in place:
        raise SettingsError(f"socket: {place!r} is neither a path nor tcp://host:port")
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
    _check_web(values, root)
    _check_roles(values, root)
    if values.get("log_file"):
        values["log_file"] = str(root / values["log_file"])
    values["node"] = values.get("node") or os.uname().nodename
    return Settings(**in_tables(values))


def _check_web(values: dict[str, Any], root: Path) -> None:
    """Where browsers connect: whole paths, and nothing open to the world by mistake."""
    if 0 < len(values.get("web.secret", "")) < SECRET_LEAST:
        raise SettingsError(f"web.secret: a key has {SECRET_LEAST} characters or more; leave it out to have one made")
    for name in ("web.listen", "web.native"):
        values[name] = tuple(_places(name, values, root))


def _places(name: str, values: dict[str, Any], root: Path) -> Iterator[str]:
    for given in values.get(name, ()):
        url = urlsplit(given)
        if url.scheme != "http":
            if "://" in given:
                raise SettingsError(f"{name}: {given!r} is neither http://host:port nor a path")
            yield str(root / given)
            continue
        try:
            whole = url.hostname is not None and url.port is not None and url.path in ("", "/")
        except ValueError:
            whole = False
        if not whole:
            raise SettingsError(f"{name}: {given!r} is not http://host:port")
        if not is_loopback(url.hostname or "") and not values.get("web.auth"):
            raise SettingsError(
                f"{name}: {given} can be reached from other machines; set web.auth to a function that says who "
                "a browser's user is, or listen on 127.0.0.1"
            )
        yield given.rstrip("/")


def _check_roles(values: dict[str, Any], root: Path) -> None:
    """Names that can be used, and the whole address of their store."""
    names = values.get("roles.names", ())
    for name in names:
        if not NAME.match(name):
            raise SettingsError(
                f"roles.names: {name!r} cannot be the name of a role: letters, digits, '_' and '-' only"
            )
        if names.count(name) > 1:
            raise SettingsError(f"roles.names: {name!r} is there twice")
    if values.get("roles.store"):
        values["roles.store"] = _store(values["roles.store"], root)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
