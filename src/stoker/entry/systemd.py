"""What a service manager wants to hear (sd_notify(3)); a datagram, or nothing where nobody listens."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*states: str) -> None:
    """Send ``READY=1``, ``STOPPING=1``, ``WATCHDOG=1``, ``MAINPID=…`` to the manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto("\n".join(states).encode(), address)


def watchdog_seconds() -> float | None:
    """How often the manager wants to hear from us: half of ``WATCHDOG_USEC``."""
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isdigit() and int(text) else None
