"""Addresses for people to read."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

_HIDDEN = re.compile(r"passw|secret|token", re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[\w.%-]*)(:[0-9]*)?")
"""One of the hosts of an address, as far as it may be shown."""


def without_password(url: str) -> str:
    """The URL for people to read: without its password. Of one that may have been cut at the wrong place, as by a
    ``/`` in a password that should be ``%2F``, nothing is shown."""
    try:
        parts = urlsplit(url)
        query = [(name, "***" if _HIDDEN.search(name) else value) for name, value in parse_qsl(parts.query)]
        hosts = parts.netloc.rpartition("@")[2].split(",")
        if parts.fragment or not all(map(_HOST.fullmatch, hosts)) or "@" in parts.path + parts.query:
            raise ValueError("a password with a '#', a '/' or a '?' in it, perhaps")
    except ValueError:
        return "postgresql://…"
    return joined(_user_and_host(parts), parts.path, urlencode(query, quote_via=quote, safe="/:,*"))


def _user_and_host(parts: SplitResult) -> str:
    who, at, where = parts.netloc.rpartition("@")
    user, colon, _ = who.partition(":")
    return f"{user}:***{at}{where}" if colon else parts.netloc


def joined(netloc: str, path: str, query: str) -> str:
    """A URL of its parts, also where the first one is empty."""
    return f"postgresql://{netloc}{path}" + (f"?{query}" if query else "")
