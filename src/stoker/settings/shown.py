"""Settings as people and programs may read them: each with where it was set and what it means, and without secrets."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from stoker.settings.about import ABOUT, FIXED, SECRETS
from stoker.settings.fields import FILE, Settings, value, variable
from stoker.settings.reading import flat

HIDDEN = "***"
"""Stands for a secret."""


class Setting(msgspec.Struct, frozen=True):
    """One setting, as it is. ``reload``: whether a reload puts another value in force; else a restart does, or a new
    start."""

    name: str
    value: Any
    source: str
    about: str
    reload: bool


def listed(settings: Settings, source: Callable[[str], str]) -> Iterator[Setting]:
    """Every setting; ``source`` says where one was set."""
    for name, about in ABOUT.items():
        yield Setting(name, masked(settings, name), source(name), about, name not in FIXED)


def masked(settings: Settings, name: str) -> Any:
    """A value as JSON can say it: no secret, no password, and of the address of a webhook, which often is one, the
    host."""
    found = value(settings, name)
    if name in SECRETS:
        return HIDDEN if found else found
    match name:
        case "store":
            return settings.store_shown
        case "roles.store":
            return settings.roles_store_shown
        case "monitors.webhook" | "monitors.smtp":
            return _only_host(found)
    if isinstance(found, tuple):
        return list(found)
    return str(found) if isinstance(found, Path) else found


def _only_host(url: str) -> str:
    try:
        parts = urlsplit(url)
        where = parts.netloc.rpartition("@")[2]
    except ValueError:
        return HIDDEN
    return f"{parts.scheme}://{where}" + (f"/{HIDDEN}" if parts.path.strip("/") or parts.query else "") if url else url


def origin(settings: Settings, environ: Mapping[str, str] = os.environ) -> Callable[[str], str]:
    """Says where a setting was set: the name of a variable, ``stoker.toml``, or ``default``. Flags are variables to the
    processes that ``stoker up`` starts."""
    file = _names(settings.root / FILE)

    def source(name: str) -> str:
        if variable(name) in environ:
            return variable(name)
        if name == "log_level" and environ.get("DEBUG") and name not in file:
            return "DEBUG"
        return FILE if name in file else "default"

    return source


def _names(path: Path) -> frozenset[str]:
    """The settings that stand in a file; nothing while it cannot be read, as happens when somebody is at it."""
    try:
        return frozenset(flat(tomllib.loads(path.read_text("utf-8"))))
    except (OSError, ValueError):
        return frozenset()
