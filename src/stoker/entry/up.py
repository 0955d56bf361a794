"""``stoker up``: the small process that stays.

It opens the listening sockets, starts the router with them, and starts it again when it dies or asks for it. So a
restart changes every process that matters, however the daemon was started, while the address stays open: a client that
connects meanwhile waits a moment instead of being refused.

    up ── exec ──► router ── exec ──► zygote ── fork ──► consumers
    │ └── exec ──► web
    │ owns the sockets
    └ passes signals on: TERM, INT (stop), HUP, USR1 (reload), USR2 (restart)
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import MutableMapping
from types import FrameType

import msgspec
import setproctitle

from stoker import settings as settings_module
from stoker.entry import exits, logs, systemd
from stoker.entry.up_web import Web
from stoker.model.errors import SettingsError, StokerError
from stoker.model.ids import new_boot_id
from stoker.settings import Settings
from stoker.wire import endpoint

CRASHES_MAX = 5
CRASH_WINDOW = 60.0
"""More than so many crashes within so many seconds: give up, with the router's own exit code."""
FINAL = frozenset({exits.OK, exits.USAGE, exits.APP, exits.STORE, exits.RUNNING})
"""Exit codes after which starting again would end the same way."""
TOLD_LATE = frozenset({exits.AGAIN, -signal.SIGTERM, -signal.SIGINT})
"""How a router ends that was told to stop when it was leaving already, or had not begun to listen."""
PASSED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Supervisor:
    """Runs the router until it ends for good."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sockets: list[socket.socket] = []
        self._bound = False
        store = settings.store_path
        places = [settings.socket_path.parent, *([] if store is None else [store.parent])]
        self._made = [folder for folder in places if not os.path.lexists(folder)]
        """Folders that are made by this run."""
        self._router: subprocess.Popen[bytes] | None = None
        self._web: Web | None = None
        self._stopping = False
        self._boot: str | None = None
        """Who the router is, or was: the next one knows that it has ended."""

    def run(self) -> int:
        """The whole life; the exit code."""
        setproctitle.setproctitle(f"{self._settings.prefix}-up")
        status: int | None = None
        try:
            self._open()
            for number in PASSED:
                signal.signal(number, self._pass_on)
            if self._web is not None:
                self._web.start()
            status = self._live()
            return status
        finally:
            self._close()
            if self._web is not None:
                self._web.stop()
            if status != exits.OK:
                self._leave_no_folder()
            # there is nothing left to hurry: a signal would only make another exit code of this one
            signal.pthread_sigmask(signal.SIG_BLOCK, PASSED)

    def _live(self) -> int:
        crashes: list[float] = []
        while True:
            status = self._once()
            if self._stopping and status in TOLD_LATE:
                return exits.OK
            if self._stopping or status in FINAL:
                return status if status >= 0 else 128 - status
            if status == exits.AGAIN:
                self._reread()
                if self._web is not None:
                    self._web.restart(self._settings)
            else:
                now = time.monotonic()
                crashes = [at for at in crashes if at > now - CRASH_WINDOW] + [now]
                _say(f"the router ended with status {status}; starting it again")
                if len(crashes) > CRASHES_MAX:
                    _say(f"{len(crashes)} crashes within {CRASH_WINDOW:.0f} s; giving up")
                    return 1
                if not self._pause(0.1 * 2 ** len(crashes)):
                    return exits.OK

    def _open(self) -> None:
        inherited = endpoint.inherited(os.environ)
        if inherited:
            endpoint.check_inherited(inherited, self._settings.socket_path)
            self._sockets = inherited
        else:
            self._sockets = [endpoint.listen_unix(self._settings.socket_path)]
            self._bound = True
        self._sockets += [endpoint.listen_tcp(address) for address in self._settings.listen]
        if self._settings.web.listen:
            self._web = Web(self._settings, PASSED, _say)

    def _once(self) -> int:
        fds = [sock.fileno() for sock in self._sockets]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")}
        if self._boot is not None:
            environ["STOKER_BEFORE"] = self._boot
        environ["STOKER_BOOT"] = self._boot = new_boot_id()
        environ["STOKER_RESOLVED"] = msgspec.json.encode(self._settings, enc_hook=str).decode()
        # blocked until the router can hear them: it inherits the mask and lifts it when its handlers are in place
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED)
        try:
            if self._stopping:  # told so before there was a router to pass it on to
                return exits.OK
            # a process group of its own: Ctrl-C comes to us alone, and is passed on once
            self._router = subprocess.Popen(
                [sys.executable, "-P", "-m", "stoker.entry.router", *map(str, fds)], pass_fds=fds, env=environ,
                process_group=0,
            )  # fmt: skip
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED)
        systemd.notify(f"MAINPID={os.getpid()}")
        while True:
            with contextlib.suppress(InterruptedError):
                return self._router.wait()

    def _reread(self) -> None:
        """A restart takes the settings anew, but for those that the open sockets and their folder depend on."""
        kept = {name: getattr(self._settings, name) for name in ("root", "store", "socket", "listen", "prefix")}
        listening = {name: getattr(self._settings.web, name) for name in ("listen", "native", "auth")}
        try:
            new = settings_module.load({"root": self._settings.root})
        except SettingsError as error:
            print(f"stoker: the settings stay as they were: {error.message}", file=sys.stderr)
        else:
            web = msgspec.structs.replace(new.web, **listening)
            self._settings = msgspec.structs.replace(new, **kept, web=web)

    def _pause(self, seconds: float) -> bool:
        """Wait before the next start; False when asked to stop meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._stopping:
            time.sleep(0.02)
        return not self._stopping

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGINT) and not self._stopping:
            self._stopping = True
            self._close()
        if self._router is not None and self._router.poll() is None:
            self._router.send_signal(number)

    def _close(self) -> None:
        """Nobody new connects from now on."""
        for sock in self._sockets:
            sock.close()
        self._sockets = []
        if self._bound:
            endpoint.remove(self._settings.socket_path)
            self._bound = False

    def _leave_no_folder(self) -> None:
        """What could not begin leaves no empty folder: it would make a project of the place it lies in."""
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _say(text: str) -> None:
    """A line for whoever started us; who does not listen any more is no reason to stop."""
    logs.put(f"stoker: {text}", sys.stderr)


def main(settings: Settings) -> int:
    return Supervisor(settings).run()


def resolved(environ: MutableMapping[str, str]) -> Settings:
    """The settings that the program before this one worked out; taken away, so that nothing else reads them."""
    return msgspec.json.decode(environ.pop("STOKER_RESOLVED"), type=Settings, dec_hook=lambda kind, value: kind(value))


if __name__ == "__main__":
    try:
        sys.exit(main(resolved(os.environ)))
    except StokerError as error:
        _say(error.message)
        sys.exit(exits.code(error))
