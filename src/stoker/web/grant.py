"""Proofs of who somebody is, made where an application knows it and cannot be asked: under WSGI, say."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from stoker import settings as settings_module
from stoker.web.identity import Identity
from stoker.web.tokens import Signer, signer


def token(identity: Identity, *, life: float | None = None, root: str | Path | None = None) -> str:
    """What the bridge of the project in ``root`` (by default the current folder's) takes for this identity: as
    ``Authorization: Bearer …``, or as the cookie ``stoker``. Good for ``life`` seconds, by default ``web.token_life``.
    No daemon is asked: it is signed with ``web.secret``, or the key in ``.stoker/web.key``, which is made when there is
    none. The method ``revoke`` takes it back.

    Raises :class:`~stoker.errors.SettingsError`.
    """
    sign, usual = _maker(None if root is None else str(root))
    return sign.sign(identity, usual if life is None else life)


@lru_cache(maxsize=16)
def _maker(root: str | None) -> tuple[Signer, float]:
    """Read once: it is asked with each request."""
    settings = settings_module.load({"root": root})
    return signer(settings), settings.web.token_life
