"""``stoker token``: a proof of who somebody is, for browsers and programs that come through the bridge."""

from __future__ import annotations

import secrets
import time
from typing import Annotated

import typer

from stoker.entry import session, show
from stoker.entry.options import Json
from stoker.model import quantities
from stoker.model.errors import SettingsError


def token(
    ctx: typer.Context,
    user: Annotated[str, typer.Option(metavar="USER", help="Who shows it.")],
    name: Annotated[
        str | None, typer.Option("--session", metavar="NAME", help="Of which session; a new one by default.")
    ] = None,
    life: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long it is good for; `web.token_life` by default.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="May see and touch the jobs of every user.")] = False,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Make none; take back those of the user, or of the session.")
    ] = False,
    json: Json = False,
) -> None:
    """Print a signed token for the bridge to browsers, or take tokens back.

    It is sent as `Authorization: Bearer …`. No daemon is needed: the key is that of the project. A running bridge cuts
    the streams of what was taken back within five seconds.
    """
    # not at the top: every other command starts faster without it
    from stoker.web import Identity, ledger, tokens

    settings = session.of(ctx).settings()
    if revoke:
        Identity(user, name or "any")
        ledger.Ledger(settings.folder).revoke(user, name, tokens.TOKEN_LIFE_MAX)
        told = f"taken back: what was given to {user}" + ("" if name is None else f" in session {name}")
        show.data({"revoked": user, "session": name}) if json else show.say(told)
        return
    identity = Identity(user, name or secrets.token_hex(8), all=everything)
    seconds = settings.web.token_life if life is None else _life(life)
    if seconds > tokens.TOKEN_LIFE_MAX:
        raise SettingsError(f"--life: a token is good for {tokens.TOKEN_LIFE_MAX / 86400:g} days at most")
    made = tokens.signer(settings).sign(identity, seconds)
    if json:
        show.data({"token": made, "user": user, "session": identity.session, "expires": time.time() + seconds})
    else:
        print(made)


def _life(text: str) -> float:
    try:
        seconds = quantities.seconds(text)
    except ValueError as error:
        raise SettingsError(f"--life: {error}") from None
    if seconds <= 0:
        raise SettingsError("--life: must be more than 0")
    return seconds
