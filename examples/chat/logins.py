"""The login of the chat: two users for a demonstration, signed cookies, and a list of who is signed in.

An application has its own; what Stoker needs of it is one function, ``who`` in app.py.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from itsdangerous import BadSignature, TimestampSigner

from examples.chat import documents

USERS = ("ann", "ben")
LIFE = 12 * 3600
"""Seconds that a login lasts."""
TRIES = 5
"""Wrong passwords for a user in a minute; then one has to wait."""


class Login(NamedTuple):
    user: str
    id: str


class Logins:
    """Who is signed in. Passwords and the key that signs are made at the first start: there are none to be guessed
    from this file."""

    def __init__(self) -> None:
        self.file = documents.home() / "passwords.txt"
        _make(self.file, "".join(f"{user} {secrets.token_urlsafe(9)}\n" for user in USERS))
        self._passwords = dict(line.split() for line in self.file.read_text().splitlines())
        key = documents.home() / "key"
        _make(key, secrets.token_hex(32))
        self._signer = TimestampSigner(key.read_text(), salt="examples.chat")
        self._wrong: dict[str, list[float]] = {}
        with self._database() as db:
            db.execute("create table if not exists logins (id text primary key, user text not null, since real)")
            db.execute("delete from logins where since < ?", (time.time() - LIFE,))

    def knows(self, user: str, password: str) -> bool:
        """Whether that is the user's password. After too many that were not, nothing is for a while."""
        now = time.monotonic()
        wrong = [when for when in self._wrong.get(user, []) if when > now - 60]
        known = self._passwords.get(user)
        if known is None or len(wrong) >= TRIES:
            return False
        if hmac.compare_digest(known.encode(), password.encode()):
            return True
        self._wrong[user] = [*wrong, now]
        return False

    def sign_in(self, user: str) -> str:
        """A cookie for somebody whom we know now."""
        id = secrets.token_urlsafe(16)
        with self._database() as db:
            db.execute("insert into logins values (?, ?, ?)", (id, user, time.time()))
        return self._signer.sign(id).decode()

    def find(self, cookie: str) -> Login | None:
        """Whose cookie it is; None when it is nobody's, over, or signed out."""
        try:
            id = self._signer.unsign(cookie, max_age=LIFE).decode()
        except BadSignature:
            return None
        with self._database() as db:
            row = db.execute("select user from logins where id = ?", (id,)).fetchone()
        return Login(row[0], id) if row else None

    def sign_out(self, login: Login) -> None:
        with self._database() as db:
            db.execute("delete from logins where id = ?", (login.id,))

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(documents.home() / "logins.db")) as db, db:
            yield db


def _make(file: Path, text: str) -> None:
    """A file that only its owner can read, unless it is there."""
    with contextlib.suppress(FileExistsError):
        made = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(made, "w") as opened:
            opened.write(text)
