"""The router's side of a zygote: started by exec, spoken to over one socket, replaced when it dies or code changes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from stoker.model import hook
from stoker.model.errors import AppError
from stoker.run import process
from stoker.run.zygote import Plan
from stoker.schedule import files
from stoker.settings import Settings
from stoker.settings.fields import Monitors
from stoker.wire.frames import FROM_ZYGOTE, Announce, Kill, Leave, Refused
from stoker.wire.link import Link

log = structlog.get_logger(role="zygote")

PRIVATE = frozenset(
    {"STOKER_TOKEN", "STOKER_STORE", "STOKER_ROLES_STORE", "STOKER_RESOLVED", "STOKER_FAILPOINTS", "NOTIFY_SOCKET"}
)
"""Variables that jobs have no business with."""
MANAGERS = ("LISTEN_", "WATCHDOG_")
"""Beginnings of those that a service manager means for the daemon alone."""


class Zygote:
    """One zygote process. ``on_frame`` gets what it says after the announcement, ``on_gone`` is called once."""

    def __init__(
        self,
        settings: Settings,
        on_frame: Callable[[Zygote, Any], None],
        on_gone: Callable[[Zygote], None],
    ) -> None:
        self._settings = settings
        self._on_frame = on_frame
        self._on_gone = on_gone
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None
        self._announced: asyncio.Future[Announce] | None = None
        self._loaded = False
        self.retiring = False
        self.refused: str | None = None
        """Why it cannot fork, if that is so."""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> Announce:
        """Start it and wait until the application is loaded. Raises :class:`AppError` if that cannot be."""
        loop = asyncio.get_running_loop()
        self._announced = loop.create_future()
        ours, theirs = socket.socketpair()
        roles = self._settings.roles
        plan = Plan(
            self._settings.app,
            str(self._settings.root),
            self._settings.prefix,
            self._settings.log_level,
            self._settings.max_input,
            any(table.get("workers") or table.get("max_workers") for table in self._settings.products.values()),
            self._settings.mode == "development",
            hooks=hook.programs(roles.on_acquired, roles.on_lost, roles.on_node_dead),
            crons=(self._settings.node, roles.names) if files.folder(self._settings).is_dir() else None,
            alerts=self._settings.monitors != Monitors(),
        )
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "stoker.entry.zygote", str(theirs.fileno())],
                env=environment(os.environ, self._settings, plan),
                cwd=self._settings.root,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._link = Link(loop, ours, FROM_ZYGOTE, self._frames, self._closed)
        try:
            return await self._announced
        except EOFError:
            how = process.ending(await self.gone())
            raise AppError(f"the zygote ended while it loaded the application: {how}") from None

    def send(self, frame: Any, fds: tuple[int, ...] = ()) -> None:
        assert self._link is not None
        self._link.send(frame, fds)

    def kill(self, worker: int, number: int, *, tree: bool) -> None:
        self.send(Kill(worker, number, tree))

    def retire(self) -> None:
        """Fork nothing more; it ends when its last child has."""
        self.retiring = True
        self.send(Leave())

    def stop(self) -> None:
        """End it, and with it every child it has."""
        self.retiring = True
        if not self._loaded:
            self.abort()  # busy importing, it would not notice that its channel is closed
        if self._link is not None:
            self._link.close()

    def abort(self) -> None:
        """Kill it: it does not answer."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)

    async def gone(self) -> int:
        """Wait for the process; its exit status."""
        assert self._process is not None
        return await asyncio.get_running_loop().run_in_executor(None, self._process.wait)

    def _frames(self, frames: list[Any]) -> None:
        assert self._announced is not None
        for frame in frames:
            match frame:
                case Announce() if not self._announced.done():
                    self._loaded = True
                    self._announced.set_result(frame)
                case Refused() if not self._announced.done():
                    self._announced.set_exception(AppError(frame.message))
                case _:
                    self._on_frame(self, frame)

    def _closed(self) -> None:
        if self._announced is not None and not self._announced.done():
            self._announced.set_exception(EOFError())
        else:
            self._on_gone(self)


def environment(base: Mapping[str, str], settings: Settings, plan: Plan) -> dict[str, str]:
    """What the zygote and every job inherit: the user's variables and the way back to this daemon, no secrets of it."""
    kept = {name: value for name, value in base.items() if name not in PRIVATE and not name.startswith(MANAGERS)}
    kept["STOKER_ROOT"] = str(settings.root)
    kept["STOKER_SOCKET"] = str(settings.socket_path)
    kept["STOKER_PLAN"] = msgspec.json.encode(plan).decode()
    return kept
