"""Signed, short-lived proofs of who somebody is.

A token is ``st1.<claims>.<signature>``: the claims as JSON, signed with HMAC-SHA256. Whoever has the key can make
tokens for anybody, so it is at least 32 characters long, and one made by us lies in ``.stoker/web.key``, mode 0600.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from stoker.model.access import PROOF_LIFE_MAX, Access
from stoker.model.errors import RequestError, SettingsError
from stoker.settings import SECRET_LEAST, Settings
from stoker.web.identity import Identity
from stoker.wire.endpoint import make_private_folder

PREFIX = "st1"
KEY_FILE = "web.key"
TOKEN_MAX = 4096
"""Characters that are looked at, at most."""
TICKET_LIFE = 60.0
TOKEN_LIFE_MAX = PROOF_LIFE_MAX
"""Seconds that any token is good for, at most: so long it is remembered what was taken back."""
LOGIN_LIFE = 900.0
"""Seconds that the address printed at the start is good for."""


class Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token says. ``kind`` is ``token``, ``ticket`` (good once, in an address) or ``login`` (good once, for a
    cookie). ``until`` of a ticket is when what it was bought with ends."""

    user: str
    session: str
    issued: float
    expires: float
    id: str
    kind: str = "token"
    level: Access = "user"
    until: float | None = None

    @property
    def identity(self) -> Identity:
        return Identity(self.user, self.session, self.level)


class Signer:
    """Makes tokens and reads them, by a clock that is the same on all machines, more or less."""

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        if len(key) < SECRET_LEAST:
            raise SettingsError(f"web.secret: a key has {SECRET_LEAST} characters or more")
        self._key = key
        self._clock = clock

    def sign(self, identity: Identity, life: float, kind: str = "token", until: float | None = None) -> str:
        """A proof that is good for ``life`` seconds from now."""
        now = self._clock()
        claims = Claims(
            user=identity.user, session=identity.session, issued=now, expires=now + life,
            id=secrets.token_hex(12), kind=kind, level=identity.level, until=until,
        )  # fmt: skip
        body = _text(msgspec.json.encode(claims))
        return f"{PREFIX}.{body}.{self._signature(body)}"

    def read(self, token: str, kind: str = "token") -> Claims | None:
        """What it says; None unless we signed it, it is of this kind, and its time is not over."""
        body, _, signature = token[:TOKEN_MAX].removeprefix(f"{PREFIX}.").partition(".")
        if not hmac.compare_digest(self._signature(body).encode(), signature.encode()):
            return None
        try:
            claims = msgspec.json.decode(_bytes(body), type=Claims)
            claims.identity  # noqa: B018 (raises for a user that cannot be)
        except (msgspec.DecodeError, binascii.Error, RequestError):
            return None
        return claims if claims.kind == kind and self._clock() < claims.expires else None

    def heartbeat(self, name: str) -> str:
        """The token of a foreign cron; good for its heartbeats and for nothing else, until the key is another one."""
        return f"hb1.{_text(hmac.digest(self._key, f'hb1.{name}'.encode(), hashlib.sha256))}"

    def _signature(self, body: str) -> str:
        return _text(hmac.digest(self._key, f"{PREFIX}.{body}".encode(), hashlib.sha256))


def ours(token: str) -> bool:
    """Whether it is for us to judge; another may be the application's own."""
    return token.startswith(f"{PREFIX}.")


def signer(settings: Settings, clock: Callable[[], float] = time.time) -> Signer:
    """With the key of the settings, or the one in ``.stoker/web.key``, which is made when there is none.

    Raises :class:`SettingsError` when that file is not ours alone.
    """
    return Signer(settings.web.secret.encode() or _key(settings.folder), clock)


def _key(folder: Path) -> bytes:
    path = folder / KEY_FILE
    try:
        found = path.stat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise SettingsError(f"{path} can be read by others; `chmod 600` it, or remove it and have a new one made")
        return path.read_bytes()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    make_private_folder(folder)
    new = path.with_name(f".{KEY_FILE}.{os.getpid()}")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_hex(32).encode())
        # whole or not at all, and never over a key that another process has just made
        try:
            os.link(new, path)
        except FileExistsError:
            pass
        finally:
            new.unlink()
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot make {path}: {error.strerror}; set web.secret instead") from None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
