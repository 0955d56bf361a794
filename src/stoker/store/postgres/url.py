"""The address of a store: what libpq and asyncpg know goes through to them, what is ours is taken out.

    postgresql://user@h1:5432,h2/db?schema=stoker&pooler=transaction&direct=h1:5432&sslmode=verify-full

``schema``            where the tables are (``stoker``)
``pooler``            ``transaction``: a pooler is in between that gives a connection for one transaction at a time, so
                      nothing is kept in a session: no prepared statements, no settings, no LISTEN
``direct``            ``host:port`` of the server itself, to listen past the pooler; without it the daemon looks from
                      time to time
``connect_timeout``   seconds for one attempt to connect (5)
``application_name``  how the server sees this daemon (``stoker``); what each connection is for is put behind it
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec

from stoker.model.addresses import joined, without_password
from stoker.model.errors import SettingsError

SCHEMES = ("postgresql", "postgres")
DEFAULT_SCHEMA = "stoker"
OURS = ("schema", "pooler", "direct", "connect_timeout", "application_name")
CONNECT_TIMEOUT = 5.0
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_DIRECT = re.compile(r"[^\s@/?#,]+:\d{1,5}\Z")
_HOST = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::(\d{0,5}))?\Z")
_LIBPQ_ONLY = frozenset(
    {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "channel_binding",
     "sslcompression", "sslsni", "gssencmode", "fallback_application_name", "client_encoding", "load_balance_hosts",
     "require_auth"}
)  # fmt: skip
"""Parameters of libpq that asyncpg would send to the server as settings; what they ask for is done here anyway."""


class Address(msgspec.Struct, frozen=True):
    """A parsed URL. ``dsn`` is for the driver, ``text`` is safe to show."""

    dsn: str
    text: str
    schema: str = DEFAULT_SCHEMA
    pooled: bool = False
    direct: str | None = None
    hosts: int = 1
    name: str = "stoker"
    connect_timeout: float = CONNECT_TIMEOUT
    asks_attrs: bool = False

    @property
    def quoted(self) -> str:
        return f'"{self.schema}"'

    @property
    def listens(self) -> bool:
        """Whether a session can be kept for LISTEN."""
        return not self.pooled or self.direct is not None

    def options(self) -> dict[str, Any]:
        """What the driver is told beyond its DSN."""
        if self.hosts > 1 and not self.asks_attrs:
            # after a failover the old primary may still answer, as a standby
            return {"target_session_attrs": "read-write"}
        return {}

    def directly(self) -> Address:
        """The address of the server behind the pooler."""
        if self.direct is None:
            return self
        parts = urlsplit(self.dsn)
        user = parts.netloc.rpartition("@")[0]
        netloc = f"{user}@{self.direct}" if user else self.direct
        dsn = joined(netloc, parts.path, parts.query)
        return msgspec.structs.replace(self, dsn=dsn, text=without_password(dsn), pooled=False, direct=None, hosts=1)


def parse(url: str) -> Address:
    """Read a store's URL. Raises :class:`SettingsError` that never contains the password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SettingsError("store: this is not a URL; write postgresql://user@host/database") from None
    if parts.fragment:
        raise SettingsError("store: write a '#' in a PostgreSQL URL as %23")
    if parts.scheme not in SCHEMES:
        raise SettingsError("store: a PostgreSQL URL begins with postgresql://")
    for host in parts.netloc.rpartition("@")[2].split(","):
        place = _HOST.match(host)
        if place is None or int(place[1] or 0) > 65535:
            # it may be half of a password, so it is not shown
            raise SettingsError(
                "store: write the host as host:port, where the port is a number, and a '/' in a password as %2F"
            )
    given = parse_qsl(parts.query, keep_blank_values=True)
    ours = {name: value for name, value in given if name in OURS}
    theirs = [(name, value) for name, value in given if name not in ours and name not in _LIBPQ_ONLY]
    schema = ours.get("schema", DEFAULT_SCHEMA)
    if not _SCHEMA.match(schema):
        raise SettingsError(f"store: schema={schema!r}: a schema's name is made of a-z, 0-9 and '_'")
    if ours.get("pooler", "transaction") not in ("transaction", "session"):
        raise SettingsError(f"store: pooler={ours['pooler']!r}: it is either transaction or session")
    direct = ours.get("direct")
    if direct is not None and not _DIRECT.match(direct):
        raise SettingsError(f"store: direct={direct!r}: write host:port of the server itself")
    hosts = [value for name, value in theirs if name == "host"] or [parts.netloc.rpartition("@")[2]]
    return Address(
        dsn=joined(parts.netloc, parts.path, urlencode(theirs, quote_via=quote)),
        text=without_password(url),
        schema=schema,
        pooled=ours.get("pooler") == "transaction",
        direct=direct,
        hosts=hosts[0].count(",") + 1,
        name=ours.get("application_name", "stoker"),
        connect_timeout=_seconds(ours.get("connect_timeout")),
        asks_attrs=any(name == "target_session_attrs" for name, _ in theirs),
    )


def _seconds(text: str | None) -> float:
    try:
        found = CONNECT_TIMEOUT if text is None else float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= 3600:
        raise SettingsError(f"store: connect_timeout={text!r}: seconds, more than 0")
    return found
