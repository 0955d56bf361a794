"""Asking addresses outside, and only those: what a schedule or a hook names must not lead into the machine's own net.

A name is resolved once, every address it has is checked, and the connection is made to one of those that were checked,
so that no second answer of a name server can lead elsewhere. Redirects are not followed, proxies of the environment are
not used, and time and size have a limit.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
BODY_MAX = 1 << 20
"""Bytes of an answer that are read."""
TIMEOUT = 60.0
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Outside(Exception):
    """The address was not asked, or did not answer as it should; the message says why."""


class Answer(NamedTuple):
    """What came back. ``body`` is cut after :data:`BODY_MAX` bytes."""

    status: int
    body: bytes


class Target(NamedTuple):
    """An address, taken apart."""

    tls: bool
    host: str
    port: int
    path: str
    shown: str
    """The host as it goes into the request."""


def target(url: str) -> Target:
    """Take an address apart. Raises :class:`Outside` for one that is not plain http or https."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Outside(f"is not an address: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise Outside("is not an address that begins with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise Outside("names a user or a password; put them into headers")
    if any(ord(one) <= 32 or ord(one) >= 127 for one in url):
        raise Outside("contains a space, a control character, or one that is not ASCII")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(tls, host, port or (443 if tls else 80), path, parts.netloc)


def get(
    url: str, *, headers: Mapping[str, str] | None = None, allowed: Sequence[str] = (), timeout: float = TIMEOUT
) -> Answer:
    """GET an address; see :func:`send`."""
    return send("GET", url, headers=headers, allowed=allowed, timeout=timeout)


def send(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    allowed: Sequence[str] = (),
    timeout: float = TIMEOUT,
) -> Answer:
    """Ask an address and read its answer, whatever its status. ``allowed`` are hosts (``name`` or ``name:port``) and
    networks of the inside that it may lead to. Raises :class:`Outside`; its text holds no header and no query."""
    to = target(url)
    place = f"{'https' if to.tls else 'http'}://{to.shown}"
    end = time.monotonic() + timeout
    try:
        found = _resolved(to, allowed)
        with _connected(to, found, end) as raw:
            return _asked(raw, to, method, body, headers or {}, end)
    except Outside:
        raise
    except TimeoutError:
        raise Outside(f"{place} did not answer within {timeout:g} s") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Outside(f"{place}: {type(error).__name__}: {str(error)[:200]}") from None


def _resolved(to: Target, allowed: Sequence[str]) -> str:
    """One of the addresses of a host, all of which may be asked."""
    try:
        answers = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Outside(f"{to.host} cannot be resolved: {error}") from None
    found = [str(answer[4][0]) for answer in answers]
    if not named(to, allowed):
        for text in found:
            if not may_ask(ipaddress.ip_address(text.partition("%")[0]), allowed):
                raise Outside(f"{to.host} is at {text}, which is not of the public net; `schedules.hosts` may allow it")
    if not found:
        raise Outside(f"{to.host} has no address")
    return found[0]


def named(to: Target, allowed: Sequence[str]) -> bool:
    """Whether a host is allowed by its name, whatever its addresses are."""
    return to.host in allowed or f"{to.host}:{to.port}" in allowed


def may_ask(address: Address, allowed: Sequence[str]) -> bool:
    """Whether an address is of the public net, or of a network that is allowed."""
    address = _inner(address)
    for text in allowed:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue  # a name
        if address.version == network.version and address in network:
            return True
    return address.is_global and not address.is_multicast


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for: whoever routes it goes there."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


def _connected(to: Target, address: str, end: float) -> socket.socket:
    raw = socket.create_connection((address, to.port), timeout=_left(end))
    if not to.tls:
        return raw
    try:
        return ssl.create_default_context().wrap_socket(raw, server_hostname=to.host)
    except BaseException:
        raw.close()
        raise


def _asked(
    raw: socket.socket, to: Target, method: str, body: bytes | None, headers: Mapping[str, str], end: float
) -> Answer:
    connection = http.client.HTTPConnection(to.host, to.port)
    connection.sock = raw
    connection.request(
        method, to.path, body, {"Host": to.shown, "User-Agent": "stoker", "Connection": "close", **headers}
    )
    raw.settimeout(_left(end))
    with connection.getresponse() as answer:
        data = b""
        while len(data) < BODY_MAX and (piece := answer.read1(min(65536, BODY_MAX - len(data)))):
            data += piece
            raw.settimeout(_left(end))
        return Answer(answer.status, data)


def _left(end: float) -> float:
    """Seconds that are left. Raises TimeoutError."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
