"""Literal credentials in a text: found by their shape or by the name in front of them, and told without being shown.

What belongs there is a reference, ``${env:NAME}``, ``${file:/path}`` or ``${credential:NAME}``; it stands for its value
only in the process that runs the job (:mod:`stoker.run.references`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SHAPES = (
    ("a key of AWS", r"\b(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}\b"),
    ("a token of GitHub", r"\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}"),
    ("a token of GitLab", r"\bglpat-[A-Za-z0-9_-]{16,}"),
    ("a token of Slack", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T[A-Za-z0-9/]{20,}"),
    ("a key of Google", r"\bAIza[0-9A-Za-z_-]{35}\b"),
    ("a key of Stripe", r"\b[rs]k_live_[0-9A-Za-z]{16,}"),
    ("a key", r"\bsk-[A-Za-z0-9_-]{24,}"),
    ("a token of a registry", r"\bnpm_[A-Za-z0-9]{30,}|\bpypi-[A-Za-z0-9_-]{30,}"),
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    ("a signed token", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    ("a DSN of Sentry", r"\bhttps?://[0-9a-f]{32}(?::[0-9a-f]{32})?@"),
    ("a password in an address", r"\b[a-z][a-z0-9+.-]{1,30}://[^\s:/@\"'$]{0,80}:(?!\$\{)[^\s/@\"']{1,200}@"),
    ("credentials in a header", r"(?i:\b(?:bearer|basic)\s+)(?!\$\{)[A-Za-z0-9+/_.=-]{12,}"),
    (
        "a password in a command line",
        r"(?i:--?(?:password|passwd|token|secret|api-?key)[= ])(?!\$)[^\s\"'-][^\s\"']{3,}",
    ),
)
_NAMED = re.compile(
    r"(?i)[\"']?(?P<name>[\w.-]{0,60}(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|credential"
    r"|private[_-]?key)[\w.-]{0,60})[\"']?\s{0,9}[:=]\s{0,9}(?:\"(?!\$\{)[^\"]{4,}\"|'(?!\$\{)[^']{4,}')"
)
_ANY = re.compile("|".join(f"(?P<s{number}>{shape})" for number, (_, shape) in enumerate(_SHAPES)))
LINE_MAX = 20_000
"""Characters of a line that are looked at in one piece."""


def literals(text: str) -> Iterator[tuple[int, str]]:
    """Lines that hold a credential, and what it looks like; nothing of it is shown."""
    for number, line in enumerate(text.splitlines(), 1):
        for start in range(0, max(1, len(line)), LINE_MAX):
            found = _what(line[start : start + LINE_MAX + 200])
            if found:
                yield number, found
                break


def _what(line: str) -> str | None:
    named = _NAMED.search(line)
    if named:
        return f"{named['name'][:60]} is written out"
    shape = _ANY.search(line)
    if shape is None or shape.lastgroup is None:
        return None
    return f"{_SHAPES[int(shape.lastgroup[1:])][0]} is written out"
