"""Main of the router: ``python -m stoker.entry.router FD…``, started by ``stoker up`` with the sockets to listen on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys

import msgspec
import setproctitle
import structlog
import uvloop

from stoker import settings as settings_module
from stoker.client import offline
from stoker.entry import exits, logs, systemd
from stoker.model.errors import AppError, SettingsError, StokerError, StoreError
from stoker.router.router import Router
from stoker.run import process
from stoker.settings import Current, Settings
from stoker.store.address import store_at

log = structlog.get_logger(role="router")

STOPS = (signal.SIGTERM, signal.SIGINT)
RELOADS = (signal.SIGHUP, signal.SIGUSR1)
RESTARTS = (signal.SIGUSR2,)
SIGNALS = (*STOPS, *RELOADS, *RESTARTS)

NPROC_SPARE = 1000
"""Processes beyond the consumers that RLIMIT_NPROC should allow (V105)."""

COLLECT_AFTER = 50_000
"""Objects more than before, after which Python looks for cycles among the young ones."""
SWITCH_INTERVAL = 0.0002
"""Seconds that the loop may keep the interpreter from the writer thread, which needs it after every statement; with
Python's own 5 ms a drain was half as fast (measured: 163-246 against 298-431 isolated jobs/s on a busy machine)."""


def main() -> int:
    settings = msgspec.json.decode(os.environ.pop("STOKER_RESOLVED"), type=Settings, dec_hook=_path)
    listeners = [socket.socket(fileno=int(fd)) for fd in sys.argv[1:]]
    logs.configure(settings)
    sys.setswitchinterval(SWITCH_INTERVAL)
    setproctitle.setproctitle(f"{settings.prefix}-router")
    process.become_subreaper()
    process.die_with_parent(os.getppid(), signal.SIGTERM)
    stays = process.raise_process_limit(NPROC_SPARE + settings.consumers_max)
    if stays is not None:
        log.warning("RLIMIT_NPROC cannot be raised; jobs may find no process", limit=stays)
    os.environ[process.DESCRIPTORS] = str(process.raise_descriptor_limit())
    try:
        with offline.held(settings.store_path) as hold:
            return uvloop.run(_run(settings, listeners, hold))
    except StokerError as error:
        log.error(error.message)
        return exits.code(error)


async def _run(settings: Settings, listeners: list[socket.socket], hold: offline.Hold) -> int:
    def reread() -> Settings:
        return settings_module.load({"root": settings.root})

    boot, before = os.environ.pop("STOKER_BOOT", None), os.environ.pop("STOKER_BEFORE", None)
    router = Router(Current(settings), store_at(settings.store), reread, boot=boot, before=before)
    _listen_to_signals(router, hold)
    beat = asyncio.create_task(_beat())  # from the beginning: after a restart the manager waits for no second READY
    try:
        await router.start(listeners)
    except (AppError, SettingsError):
        if hold.made:
            with contextlib.suppress(StoreError):
                await router.house.store.close()
            hold.forget()
        raise
    _collect_seldom()
    systemd.notify("READY=1", f"STATUS={len(router.house.pool.commands)} commands ready")
    again = await router.run()
    beat.cancel()
    # there is nothing left to hurry, and nobody hears it: a signal would only make a crash of an end in order
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    return exits.AGAIN if again else exits.OK


def _listen_to_signals(router: Router, hold: offline.Hold) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(_reload(router))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def stop() -> None:
        systemd.notify("STOPPING=1")
        hold.leaving()
        router.ask_stop()

    for numbers, told in ((STOPS, stop), (RELOADS, reload), (RESTARTS, router.ask_restart)):
        for number in numbers:
            loop.add_signal_handler(number, told)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # see `stoker up`: what came before is heard now


def _collect_seldom() -> None:
    """What a job leaves behind goes by itself; looking for cycles among all that is alive took a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)


async def _reload(router: Router) -> None:
    with contextlib.suppress(AppError, SettingsError):  # said in the log; the old code stays in force
        await router.reload()


async def _beat() -> None:
    """Tell the service manager that the loop turns."""
    every = systemd.watchdog_seconds()
    while every is not None:
        systemd.notify("WATCHDOG=1")
        await asyncio.sleep(every)


def _path(kind: type, value: object) -> object:
    return kind(value)


if __name__ == "__main__":
    sys.exit(main())
