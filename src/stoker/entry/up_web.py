"""The bridge beside the router: ``stoker up`` holds its sockets, starts it, and starts it again when it dies.

The sockets stay open meanwhile, so that a browser which comes just then waits a moment instead of being refused; and
the bridge outlives a router that dies, so that streams stay open.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from stoker.entry import exits
from stoker.settings import Settings
from stoker.wire import endpoint

STEADY = 10.0
"""Seconds of life after which a bridge that dies is started again at once."""
PAUSE_MAX = 5.0
STOP_WITHIN = 6.0
"""Seconds that a bridge has to say good-bye to its browsers."""
OPEN_TO_ALL = 0o666


class Web:
    """One bridge at a time, until :meth:`stop`. ``blocked`` are signals that the process is started without hearing."""

    def __init__(self, settings: Settings, blocked: Collection[int], say: Callable[[str], None]) -> None:
        self._settings = settings
        self._blocked = blocked
        self._say = say
        places = (*settings.web.listen, *settings.web.native)
        self._paths = [Path(place) for place in places if "://" not in place]
        self._sockets = [_listen(place, open_to_all=bool(settings.web.auth)) for place in places]
        self._process: subprocess.Popen[bytes] | None = None
        self._leaving = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._live, name="web", daemon=True)

    def start(self) -> None:
        if self._sockets:
            self._thread.start()

    def restart(self, settings: Settings) -> None:
        """A fresh one, under these settings."""
        self._settings = settings
        self._tell(signal.SIGTERM)

    def stop(self) -> None:
        """End it, and wait for that. Nobody new connects from now on."""
        self._leaving.set()
        self._close()
        if self._thread.ident is None:
            return
        self._tell(signal.SIGTERM)
        self._thread.join(STOP_WITHIN)
        if self._thread.is_alive():
            self._tell(signal.SIGKILL)
            self._thread.join(STOP_WITHIN)

    def _live(self) -> None:
        # the process inherits the mask, and lifts it when it can hear them; this thread hears none of them
        signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked)
        pause, greet = 0.0, True
        while not self._leaving.is_set():
            began = time.monotonic()
            with self._lock:
                if self._leaving.is_set():
                    return
                self._process = self._exec(greet)
            status, greet = self._process.wait(), False
            if self._leaving.is_set():
                return
            if status in (exits.USAGE, exits.APP):
                self._say("the bridge to browsers cannot run; the daemon goes on without it")
                return
            if status == exits.OK or time.monotonic() - began > STEADY:
                pause = 0.0
            else:
                pause = min(PAUSE_MAX, max(0.2, 2 * pause))
                self._say(f"the bridge to browsers ended with status {status}; starting it again")
            self._leaving.wait(pause)

    def _exec(self, greet: bool) -> subprocess.Popen[bytes]:
        fds = [sock.fileno() for sock in self._sockets]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")}
        environ["STOKER_RESOLVED"] = msgspec.json.encode(self._settings, enc_hook=str).decode()
        if greet:
            environ["STOKER_WEB_GREET"] = "1"
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "stoker.entry.web", *map(str, fds)], pass_fds=fds, env=environ,
            process_group=0,
        )  # fmt: skip

    def _tell(self, number: int) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def _close(self) -> None:
        for sock in self._sockets:
            sock.close()
        for path in self._paths:
            endpoint.remove(path)
        self._paths = []


def _listen(place: str, *, open_to_all: bool) -> socket.socket:
    """Where browsers, or the proxy before them, connect. Raises :class:`SettingsError`, or :class:`AlreadyRunning`."""
    if "://" in place:
        return endpoint.listen_tcp(place.replace("http://", "tcp://", 1))
    sock = endpoint.listen_unix(Path(place))
    if open_to_all:
        # the proxy is another user; who a browser is, the application says
        with contextlib.suppress(OSError):
            os.chmod(place, OPEN_TO_ALL)
    return sock
