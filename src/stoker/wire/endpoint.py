"""The places where the daemon listens: a Unix socket in a private folder, TCP, or what systemd hands over."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

from stoker.model.errors import AlreadyRunning, DaemonError, DaemonUnavailable, SettingsError

LISTEN_FDS_START = 3
"""The first inherited descriptor (sd_listen_fds(3))."""
BACKLOG = 1024


def make_private_folder(folder: Path) -> None:
    """A folder that only we may enter. Raises :class:`SettingsError` when somebody else owns it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise SettingsError(f"cannot make the folder {folder}: {error.strerror}") from None
    if found.st_uid != os.geteuid():
        raise SettingsError(f"the folder {folder} belongs to another user")


def listen_unix(path: Path) -> socket.socket:
    """Bind the control socket, mode 0600. A stale one is replaced; a live one raises :class:`AlreadyRunning`."""
    make_private_folder(path.parent)
    _clear_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise SettingsError(f"cannot listen on {path}: {error.strerror or error}") from None
    finally:
        os.umask(before)
    sock.listen(BACKLOG)
    return sock


def _clear_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SettingsError(f"{path} is there and is not a socket; move it away or set another `socket`")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            raise SettingsError(f"cannot tell who listens on {path}: {error.strerror}") from None
        else:
            raise AlreadyRunning(f"another daemon listens on {path}; `stoker status` tells more, `stoker stop` ends it")


def listen_tcp(address: str) -> socket.socket:
    """Bind ``tcp://host:port``."""
    host, number = _host_and_port(address, "listen")
    try:
        family, kind, proto, _, place = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(place)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise SettingsError(f"cannot listen on {address}: {error.strerror or error}") from None
    sock.listen(BACKLOG)
    return sock


def inherited(environ: Mapping[str, str]) -> list[socket.socket]:
    """The sockets systemd passed to this very process (``LISTEN_PID``, ``LISTEN_FDS``)."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    try:
        count = int(environ.get("LISTEN_FDS", "0"))
        return [socket.socket(fileno=fd) for fd in range(LISTEN_FDS_START, LISTEN_FDS_START + count)]
    except (ValueError, OSError) as error:
        raise SettingsError(
            f"LISTEN_FDS={environ.get('LISTEN_FDS')}: no such sockets were passed on: {error}"
        ) from None


def check_inherited(socks: list[socket.socket], configured: Path) -> None:
    """An activated socket must be the one clients look for. Raises :class:`SettingsError`, naming both."""
    for sock in socks:
        if sock.family != socket.AF_UNIX:
            continue
        name = sock.getsockname()
        if os.path.realpath(name) != os.path.realpath(configured):
            raise SettingsError(
                f"systemd listens on {name}, but clients are told {configured}; "
                "make `ListenStream` in the socket unit and the setting `socket` the same"
            )


def peer_uid(sock: socket.socket) -> int | None:
    """Who is on the other end of a Unix socket, by the kernel's word; None on another kind of socket."""
    if sock.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", data)
    return int(uid)


def connect(address: str, timeout: float) -> socket.socket:
    """Connect to a path or ``tcp://host:port``. Raises :class:`DaemonError` saying what to look at, and
    :class:`SettingsError` for an address that cannot be one."""
    try:
        if address.startswith("tcp://"):
            sock = socket.create_connection(_host_and_port(address, "socket"), timeout=timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(address.removeprefix("unix://"))
        except BaseException:
            sock.close()
            raise
        return sock
    except OSError as error:
        raise unreachable(address, error) from None


def unreachable(address: str, error: Exception) -> DaemonError:
    from_errors: dict[type[BaseException], str] = {
        FileNotFoundError: "no socket there",
        ConnectionRefusedError: "nobody listens",
    }
    why = from_errors.get(type(error)) or getattr(error, "strerror", None) or str(error)
    return DaemonUnavailable(
        f"cannot reach the daemon at {address}: {why}. Start it with `stoker up`, "
        "or point the setting `socket` (STOKER_SOCKET) to where it listens"
    )


def _host_and_port(address: str, what: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"{what}: {address!r} is not tcp://host:port")
    return host.strip("[]"), int(port)


def remove(path: Path) -> None:
    """Take the socket's name away, so that nobody new connects."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
