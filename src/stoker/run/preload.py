"""The application's code: loaded once before the first fork, and again in a child when its source has changed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import pkgutil
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from stoker.model.command import Command
from stoker.model.errors import AppError
from stoker.model.product import Catalog

Mark = tuple[int, int]
"""Modification time (ns) and size of a source file."""


class Application:
    """What ``stoker up`` was told to run: modules, or objects in them, and the commands found there."""

    def __init__(self, targets: Sequence[str], root: Path) -> None:
        self.targets = tuple(targets)
        self.root = root
        self.commands: dict[str, Command[Any, Any]] = {}
        self.seconds = 0.0
        self._sources: dict[str, tuple[str, Mark]] = {}
        self._lock = threading.Lock()

    def load(self) -> None:
        """Import the targets and collect their commands. Raises :class:`AppError` saying which and why."""
        if not self.targets:
            raise AppError("no application given: `stoker up package.module:product`, or set `app` in stoker.toml")
        begun = time.monotonic()
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))
        found: dict[str, Command[Any, Any]] = {}
        for target in self.targets:
            for command in _commands_of(target):
                there = found.setdefault(command.name, command)
                if there.origin != command.origin:
                    raise AppError(f"{command.name} is registered twice: in {there.origin} and in {command.origin}")
        if not found:
            raise AppError(f"{', '.join(self.targets)}: no product with a command found; is it imported there?")
        self.commands = found
        self._sources = dict(self._look())
        self.seconds = time.monotonic() - begun

    def current(self) -> dict[str, Command[Any, Any]]:
        """The commands as their source says now. Raises :class:`AppError` when that cannot be imported any more."""
        with self._lock:
            self.refresh()
            return self.commands

    def changed(self) -> list[str]:
        """Names of application modules whose source is not what was loaded."""
        return [name for name, (path, mark) in self._sources.items() if _mark(path) != mark]

    def refresh(self) -> bool:
        """If any source changed: drop the application's modules and import them afresh. Whether it did."""
        changed = self.changed()
        if not changed:
            return False
        for name in changed:
            # bytecode is trusted by whole seconds and size: an edit within the second would not be seen
            with contextlib.suppress(OSError, NotImplementedError):
                os.unlink(importlib.util.cache_from_source(self._sources[name][0]))
        for name in self._sources:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        self.load()
        return True

    def _look(self) -> Iterator[tuple[str, tuple[str, Mark]]]:
        """The application's own modules: of the targets' packages, or below the root; never the libraries."""
        packages = {target.partition(":")[0].partition(".")[0] for target in self.targets}
        libraries = tuple({str(Path(prefix).resolve()) + os.sep for prefix in (sys.prefix, sys.base_prefix)})
        root = str(self.root.resolve()) + os.sep
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if path is None or not path.endswith(".py") or name == "__main__":
                continue
            top = name.partition(".")[0]
            path = os.path.realpath(path)
            if top in packages or (path.startswith(root) and not path.startswith(libraries) and top != "stoker"):
                mark = _mark(path)
                if mark is not None:
                    yield name, (path, mark)


def _mark(path: str) -> Mark | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _commands_of(target: str) -> Iterator[Command[Any, Any]]:
    name, _, attribute = target.partition(":")
    module = _imported(name, target)
    if attribute:
        yield from _named(module, attribute, target)
        return
    if hasattr(module, "__path__"):
        for found in pkgutil.walk_packages(module.__path__, f"{name}."):
            # what `python -m` would run is a program, not a part of the application
            if not found.name.endswith(".__main__"):
                _imported(found.name, target)
    seen: set[int] = set()
    for other in [module, *(m for n, m in list(sys.modules.items()) if n.startswith(f"{name}."))]:
        for value in list(vars(other).values()):
            if id(value) not in seen and isinstance(value, Catalog | Command):
                seen.add(id(value))
                yield from (value if isinstance(value, Catalog) else (value,))


def _named(module: ModuleType, attribute: str, target: str) -> Iterator[Command[Any, Any]]:
    value: Any = module
    for step in attribute.split("."):
        try:
            value = getattr(value, step)
        except AttributeError:
            raise AppError(f"{target}: the module {module.__name__} has no {attribute!r}") from None
    if isinstance(value, Catalog):
        yield from value
    elif isinstance(value, Command):
        yield value
    else:
        raise AppError(f"{target}: is a {type(value).__name__}, not a Product or a command")


def _imported(name: str, target: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise AppError(f"{target!r} is not module or module:attribute (a dotted name, no path and no .py)")
    try:
        return importlib.import_module(name)
    except AppError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise AppError(
                f"{target}: there is no module {error.name!r}; looked in {sys.path[0]} and the libraries"
            ) from None
        raise AppError(f"{target}: {_where(error)}") from error
    except SystemExit as error:
        raise AppError(f"{target}: the module ends the program when imported: {_where(error)}") from error
    except Exception as error:
        raise AppError(f"{target}: {_where(error)}") from error


def _where(error: BaseException) -> str:
    """An import error in one line: what, and the last place in the user's code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
