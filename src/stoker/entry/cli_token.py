"""``stoker token``: a proof of who somebody is, for browsers and programs that come through the bridge."""

from __future__ import annotations

import os
import secrets
import time
from typing import Annotated

import typer

from stoker.client import offline
from stoker.entry import session, show
from stoker.entry.options import Json
from stoker.entry.session import Session
from stoker.model import quantities
from stoker.model.access import LEVELS, PROOF_LIFE_MAX, Access
from stoker.model.audit import Deed
from stoker.model.errors import DaemonUnavailable, RequestError, SettingsError
from stoker.settings import Settings


def token(
    ctx: typer.Context,
    user: Annotated[str, typer.Option(metavar="USER", help="Who shows it.")],
    name: Annotated[
        str | None, typer.Option("--session", metavar="NAME", help="Of which session; a new one by default.")
    ] = None,
    life: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long it is good for; `web.token_life` by default.")
    ] = None,
    level: Annotated[
        str, typer.Option(metavar="LEVEL", help="What they may do: user, viewer, operator or admin.")
    ] = "user",
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Make none; take back those of the user, or of the session.")
    ] = False,
    json: Json = False,
) -> None:
    """Print a signed token for the bridge to browsers, or take tokens back.

    It is sent as `Authorization: Bearer …`. No daemon is needed: the key is that of the project. What is taken back is
    good on no node of the store any more, and its streams are cut within five seconds.
    """
    # not at the top: every other command starts faster without it
    from stoker.web import Identity, tokens

    settings = session.of(ctx).settings()
    try:
        identity = Identity(user, secrets.token_hex(8) if name is None else name, level=_level(level))
    except RequestError as error:
        raise SettingsError(f"--user, --session: {error.message}") from None
    if revoke:
        _revoke(session.of(ctx), user, name)
        told = f"taken back: what was given to {user}" + ("" if name is None else f" in session {name}")
        show.data({"revoked": user, "session": name}) if json else show.say(told)
        return
    seconds = settings.web.token_life if life is None else _life(life)
    if seconds > tokens.TOKEN_LIFE_MAX:
        raise SettingsError(f"--life: a token is good for {tokens.TOKEN_LIFE_MAX / 86400:g} days at most")
    made = tokens.signer(settings).sign(identity, seconds)
    if json:
        who = {"user": user, "session": identity.session, "level": level}
        show.data({"token": made, **who, "expires": time.time() + seconds})
    else:
        print(made)


def _revoke(line: Session, user: str, name: str | None) -> None:
    """Through the daemon; while there is none here, straight into the store."""
    try:
        line.client.ask("revoke", user=user, session=name)
    except DaemonUnavailable:
        if line.remote:
            raise
        settings = line.settings()
        with offline.held(settings.store_path):
            offline.finish(_revoke_in(settings, user, name))


async def _revoke_in(settings: Settings, user: str, name: str | None) -> None:
    whose = user if name is None else f"{user}/{name}"
    deed = Deed(node=settings.node, role="script", uid=os.geteuid(), method="revoke", object=whose)
    async with offline.opened(settings.store) as store:
        await store.proofs.revoke(user, name, PROOF_LIFE_MAX)
        await store.audit.add(deed)


def _level(text: str) -> Access:
    if text not in LEVELS:
        raise SettingsError(f"--level: {text!r} is none of {', '.join(LEVELS)}")
    return text


def _life(text: str) -> float:
    try:
        seconds = quantities.seconds(text)
    except ValueError as error:
        raise SettingsError(f"--life: {error}") from None
    if seconds <= 0:
        raise SettingsError("--life: must be more than 0")
    return seconds
