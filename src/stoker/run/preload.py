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

from stoker.model import hook
from stoker.model.command import Command
from stoker.model.errors import AppError
from stoker.model.pool import PoolSpec
from stoker.model.product import Catalog

Mark = tuple[int, int]
"""Modification time (ns) and size of a source file."""


class Application:
    """What ``stoker up`` was told to run: modules, or objects in them, and the commands found there."""

    def __init__(
        self, targets: Sequence[str], root: Path, *, watch: bool = True, hooks: Sequence[hook.Program] = (),
        crons: tuple[str, tuple[str, ...]] | None = None, alerts: bool = False,
    ) -> None:  # fmt: skip
        self._watch = watch
        self._crons = crons
        self._alerts = alerts
        self._hooks = tuple(hooks)
        self.targets = tuple(targets)
        self.root = root
        self.commands: dict[str, Command[Any, Any]] = {}
        self._products: dict[str, list[Catalog]] = {}
        self.seconds = 0.0
        self._sources: dict[str, tuple[str, Mark]] = {}
        self._lock = threading.Lock()

    def load(self) -> None:
        """Import the targets and collect their commands. Raises :class:`AppError` saying which and why."""
        if not self.targets and self._crons is None:
            raise AppError("no application given: `stoker up package.module:product`, or set `app` in stoker.toml")
        begun = time.monotonic()
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))
        found = self._scheduled()
        products: dict[str, list[Catalog]] = {}
        for one in [one for target in self.targets for one in _found_in(target)]:
            if isinstance(one, Catalog):
                products.setdefault(one.name, []).append(one)
            for command in one if isinstance(one, Catalog) else (one,):
                there = found.setdefault(command.name, command)
                if there.origin != command.origin:
                    raise AppError(f"{command.name} is registered twice: in {there.origin} and in {command.origin}")
        for command in hook.commands(self._hooks) if found else ():
            found.setdefault(command.name, command)
        if not found:
            raise AppError(f"{', '.join(self.targets)}: no product with a command found; is it imported there?")
        self.commands = found
        self._products = products
        self.pools()
        self._sources = dict(self._look())
        self.seconds = time.monotonic() - begun

    def _scheduled(self) -> dict[str, Command[Any, Any]]:
        """What schedule files run, where there are any, and what tells of them, where they are watched."""
        found: dict[str, Command[Any, Any]] = {}
        # every fork would pay for what these load
        if self._crons is not None:
            from stoker.run import cron

            found |= cron.commands(*self._crons)
        if self._alerts:
            from stoker.run import alerts

            found |= alerts.commands()
        return found

    def pools(self) -> tuple[PoolSpec, ...]:
        """The pools as the code declares them, one for each product. Raises :class:`AppError` when two places declare
        one differently."""
        found = {}
        for name, products in self._products.items():
            plain = PoolSpec(product=name)
            declared = {product.pool: None for product in products if product.pool != plain}
            if len(declared) > 1:
                raise AppError(f"the pool of the product {name} is declared twice, and differently")
            found[name] = next(iter(declared), plain)
        return tuple(found.values())

    def home(self, name: str) -> Catalog | None:
        """The product of a name, that which has a start hook if one has."""
        products = self._products.get(name, [])
        return next((one for one in products if one.start_hook() is not None), products[0] if products else None)

    def current(self) -> dict[str, Command[Any, Any]]:
        """The commands as their source says now, or as they were loaded where nobody watches the source. Raises
        :class:`AppError` when it cannot be imported any more."""
        if not self._watch:
            return self.commands
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


class Watched:
    """An application in a process of many jobs. Its source is looked at after jobs have come, by the first that runs:
    who edits and then submits gets the new code, and what came together pays for one look. Safe to use from threads."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._unseen = True

    @property
    def commands(self) -> dict[str, Command[Any, Any]]:
        """As they were at the last look."""
        return self._application.commands

    def came(self) -> None:
        """A job came."""
        self._unseen = True

    def current(self) -> dict[str, Command[Any, Any]]:
        """The commands for a job that came. Raises :class:`AppError` while the source is broken."""
        with self._lock:
            if self._unseen:
                self._unseen = False  # before the look: a job that comes during it is owed one of its own
                try:
                    return self._application.current()
                except BaseException:
                    self._unseen = True
                    raise
        return self.commands


def _mark(path: str) -> Mark | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _found_in(target: str) -> list[Catalog | Command[Any, Any]]:
    """The products of a target, and commands that are on none of them."""
    name, _, attribute = target.partition(":")
    module = _imported(name, target)
    if attribute:
        return [_named(module, attribute, target)]
    if hasattr(module, "__path__"):
        for found in pkgutil.walk_packages(module.__path__, f"{name}."):
            # what `python -m` would run is a program, not a part of the application
            if not found.name.endswith(".__main__"):
                _imported(found.name, target)
    values: dict[int, Any] = {}
    for other in [module, *(m for n, m in list(sys.modules.items()) if n.startswith(f"{name}."))]:
        for value in list(vars(other).values()):
            if isinstance(value, Catalog | Command) or _is_product_class(value, name):
                values[id(value)] = value
    made = {type(value) for value in values.values()}
    return [
        _constructed(value, target) if isinstance(value, type) else value
        for value in values.values()
        if value not in made
    ]


def _is_product_class(value: Any, package: str) -> bool:
    """Whether this is a class of the application that is a product by itself."""
    return (
        isinstance(value, type)
        and issubclass(value, Catalog)
        and f"{value.__module__}.".startswith(f"{package}.")
        and "handle_job" in vars(value)
    )


def _constructed(kind: type[Catalog], target: str) -> Catalog:
    try:
        return kind()  # type: ignore[call-arg]  # a product in the class form knows its name
    except AppError:
        raise
    except Exception as error:
        raise AppError(f"{target}: the product {kind.__name__} cannot be made: {_where(error)}") from error


def _named(module: ModuleType, attribute: str, target: str) -> Catalog | Command[Any, Any]:
    value: Any = module
    for step in attribute.split("."):
        try:
            value = getattr(value, step)
        except AttributeError:
            raise AppError(f"{target}: the module {module.__name__} has no {attribute!r}") from None
    if isinstance(value, type) and issubclass(value, Catalog):
        return _constructed(value, target)
    if isinstance(value, Catalog | Command):
        return value
    kind = type(value).__name__
    article = "an" if kind[0] in "aeiouAEIOU" else "a"
    raise AppError(f"{target}: is {article} {kind}, not a Product or a command")


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
