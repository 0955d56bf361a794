"""What the command line knows before its command: which project, which daemon, and whether a program reads."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import Any

import typer

from stoker import settings as settings_module
from stoker.client.sync import Client
from stoker.model.errors import DaemonUnavailable, UnknownCommand
from stoker.model.product import unknown
from stoker.settings import Settings


class Session:
    """One run of the command line. ``json`` is set by the option of that name, wherever it stands."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.socket: str | None = None
        self.json = False
        self._client: Client | None = None
        self._commands: list[dict[str, Any]] | None = None

    def settings(self, *, products: bool = False, **flags: Any) -> Settings:
        """The settings, with the flags that were given; for a daemon also those of its products. Raises
        SettingsError."""
        given = {name: value for name, value in flags.items() if value is not None}
        given.setdefault("root", self.root)
        if not self.remote:
            given.setdefault("socket", self.socket)
        for name in ("root", "socket", "store", "log_file"):
            given[name] = _place(given.get(name))
        return settings_module.load(given, products=products)

    @property
    def remote(self) -> bool:
        return self.socket is not None and self.socket.startswith("tcp://")

    @property
    def address(self) -> str | None:
        """Where the daemon is, when that is not the project's own socket."""
        return self.socket if self.remote else None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self.address, settings=self.settings())
        return self._client

    def commands(self) -> list[dict[str, Any]]:
        """What the daemon can run, asked once. Raises DaemonUnavailable."""
        if self._commands is None:
            self._commands = self.client.ask("commands", list[dict[str, Any]])
        return self._commands


def of(ctx: typer.Context) -> Session:
    """The session of this run."""
    session = ctx.find_root().obj
    assert isinstance(session, Session)
    return session


def _place(value: str | None) -> str | None:
    """A path on the command line is meant from where one stands, not from the project's folder."""
    if not value or "://" in value:
        return value
    return os.path.abspath(os.path.expanduser(value))


def full_name(name: str, known: Iterable[str]) -> str:
    """The command that ``name`` means: its full name, or the part after the product where only one has it.

    Raises :class:`UnknownCommand` with what it may have been meant to be.
    """
    names = sorted(known)
    if name in names:
        return name
    same = [full for full in names if full.partition(".")[2] == name]
    if len(same) == 1:
        return same[0]
    if same:
        raise UnknownCommand(f"{name!r} may be {' or '.join(same)}; say which")
    bare = {full.partition(".")[2]: full for full in names}
    near = difflib.get_close_matches(name.rpartition(".")[2], bare, n=3)
    if near:
        raise UnknownCommand(f"{unknown(name, names)}; did you mean {' or '.join(bare[one] for one in near)}?")
    raise UnknownCommand(
        f"{unknown(name, names)}; `stoker commands` lists what there is (a new one needs `stoker reload`)"
    )


def complete_command(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Names for the shell's completion; none when no daemon answers."""
    try:
        found = Client().ask("commands", list[dict[str, Any]], timeout=1.0)
    except Exception:  # a completion never complains
        return []
    words = [(str(one["name"]), str(one["doc"]).partition("\n")[0]) for one in found]
    return [
        word for word in words if word[0].startswith(incomplete) or word[0].partition(".")[2].startswith(incomplete)
    ]


def need_full_name(name: str, gone: DaemonUnavailable) -> str:
    """Without a daemon nobody can say to which product a bare name belongs. Raises what it was given."""
    if "." not in name:
        raise DaemonUnavailable(f"{gone.message}. To store the job meanwhile give the full name, product.{name}")
    return name
