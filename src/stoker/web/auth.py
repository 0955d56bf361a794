"""Finding out who asks: our own tokens in a header, a cookie or, once, in an address; else the application's login."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from stoker.settings import Settings
from stoker.web import tokens
from stoker.web.answers import as_json
from stoker.web.hub import Hub
from stoker.web.identity import Caller, Identity
from stoker.web.ledger import Ledger
from stoker.web.refusal import Refusal, not_allowed, unauthorized
from stoker.web.tokens import TICKET_LIFE, TOKEN_LIFE_MAX, Claims, Signer

log = structlog.get_logger(role="web")

COOKIE = "stoker"
USED = (
    "this link is good once, within 15 minutes: it was used before, or is too old. The browser in which it was used is "
    "signed in, at {}; a new one is printed when `stoker up` starts"
)
SAFE = ("GET", "HEAD", "OPTIONS")
Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Authenticate: TypeAlias = Callable[[HTTPConnection], Identity | Awaitable[Identity | None] | None]
"""The application's own word on who makes a request; None: nobody it knows."""


class Auth:
    """One gate for every route."""

    def __init__(self, settings: Settings, signer: Signer, hub: Hub, authenticate: Authenticate | None) -> None:
        self._settings = settings
        self._signer = signer
        self._ledger: Ledger = hub.ledger
        self._hub = hub
        self._authenticate = authenticate

    def gate(self, handler: Handler, *, ticket: bool = False) -> Handler:
        """The handler behind a door: nothing of a request is read before it is known who makes it, and that is
        ``request.state.caller`` then."""

        async def behind(request: Request) -> Response:
            request.state.caller = await self.caller(request, ticket=ticket)
            return await handler(request)

        return behind

    async def caller(self, asking: HTTPConnection, *, ticket: bool = False) -> Caller:
        """Who asks. ``ticket``: an address may carry the proof. Raises :class:`Refusal`."""
        caller = await self._by_token(asking, ticket) or await self._by_application(asking)
        if caller is None:
            raise unauthorized()
        if caller.by in ("cookie", "application") and asking.scope.get("method", "GET") not in SAFE:
            _from_a_page_of_ours(asking)
        return caller

    async def _by_token(self, asking: HTTPConnection, ticket: bool) -> Caller | None:
        scheme, _, bearer = asking.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and tokens.ours(bearer.strip()):
            claims = await self._good(bearer.strip(), "token")
            if claims is None:
                raise unauthorized("the token is wrong, over, or was taken back")
            return self._known(claims, claims.expires, "token")
        if ticket and "ticket" in asking.query_params:
            return await self.spend(asking.query_params["ticket"], "ticket")
        cookie = asking.cookies.get(COOKIE, "")
        claims = await self._good(cookie, "token") if tokens.ours(cookie) else None
        return None if claims is None else self._known(claims, claims.expires, "cookie")

    async def _by_application(self, asking: HTTPConnection) -> Caller | None:
        if self._authenticate is None:
            return None
        since = self._ledger.now()
        if inspect.iscoroutinefunction(self._authenticate):
            found = await self._authenticate(asking)
        else:
            # it may look into a database: in a thread, so that nobody else waits for that
            found = await asyncio.to_thread(self._authenticate, asking)
            if inspect.isawaitable(found):
                found = await found
        if found is None:
            return None
        if not isinstance(found, Identity):
            raise TypeError(f"authenticate returns a stoker.web.Identity or None, not {type(found).__name__}")
        return Caller(found, since, None, "application", asking)

    async def ask_again(self) -> None:
        """Ask the application about all who came by its word and are still here; whom it does not know any more, or
        calls something else, is cut."""
        for stream in list(self._hub.streams.values()):
            caller = stream.caller
            if caller.asking is not None and not await self._still(caller.asking, caller.identity):
                stream.close("revoked")

    async def _still(self, asking: HTTPConnection, identity: Identity) -> bool:
        try:
            caller = await self._by_application(asking)
        except Exception:
            log.exception("the application cannot say who this is; the stream stays")
            return True
        return caller is not None and caller.identity == identity

    async def spend(self, ticket: str, kind: str) -> Caller:
        """Use up what is good once. Raises :class:`Refusal`."""
        claims = await self._good(ticket, kind)
        if claims is None or not await self._ledger.spend(claims.id, claims.expires - self._ledger.now() + TICKET_LIFE):
            raise unauthorized(f"the {kind} is wrong, over, or was used before")
        return self._known(claims, claims.until, kind)

    async def _good(self, token: str, kind: str) -> Claims | None:
        claims = self._signer.read(token, kind)
        if claims is None:
            return None
        await self._ledger.known()
        return None if self._ledger.revoked(claims.user, claims.session, claims.issued) else claims

    def _known(self, claims: Claims, until: float | None, by: str) -> Caller:
        return Caller(claims.identity, claims.issued, None if until is None else until - self._ledger.ahead, by)

    # ── what can be asked about it ───────────────────────────────────────────────────────────────────────────────────

    async def ticket(self, request: Request) -> Response:
        """One-time proof for an address."""
        caller: Caller = request.state.caller
        until = None if caller.until is None else caller.until + self._ledger.ahead
        ticket = self._signer.sign(caller.identity, TICKET_LIFE, "ticket", until)
        return as_json({"ticket": ticket, "expires": TICKET_LIFE})

    async def token(self, request: Request) -> Response:
        """A new token for who has a good one, or is known to the application. Who came with a cookie gets a cookie."""
        caller: Caller = request.state.caller
        token, life = self._token(caller.identity)
        self._hub.renewed(Caller(caller.identity, caller.since, time.time() + life, caller.by))
        by_cookie = caller.by == "cookie"
        response = as_json({"token": None if by_cookie else token, "expires": life})
        if by_cookie:
            self._set_cookie(request, response, token, life)
        return response

    async def logout(self, request: Request) -> Response:
        """Nothing that was given to this session is good any more; its streams are cut, wherever they are served."""
        caller: Caller = request.state.caller
        await self._ledger.revoke(caller.identity)
        self._hub.cut()
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, path=mounted_at(request))
        return response

    async def login(self, request: Request) -> Response:
        """The address that the daemon prints: its proof becomes a cookie."""
        if request.method == "HEAD":
            return Response()
        try:
            caller = await self.spend(request.query_params.get("ticket", ""), "login")
        except Refusal as error:
            if error.status == 401:
                raise unauthorized(USED.format(mounted_at(request))) from None
            raise
        token, life = self._token(caller.identity)
        response = RedirectResponse(mounted_at(request), status_code=303)
        self._set_cookie(request, response, token, life)
        return response

    def _token(self, identity: Identity) -> tuple[str, float]:
        life = min(self._settings.web.token_life, TOKEN_LIFE_MAX)
        return self._signer.sign(identity, life), life

    def _set_cookie(self, request: Request, response: Response, token: str, life: float) -> None:
        response.set_cookie(
            COOKIE, token, max_age=int(life), path=mounted_at(request), httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip


def _from_a_page_of_ours(asking: HTTPConnection) -> None:
    """A browser says where a request that changes something comes from, and the guard has looked at that. One that says
    nothing and comes with a cookie could be made by any page of an old browser."""
    headers = asking.headers
    if "cookie" in headers and "origin" not in headers and "sec-fetch-site" not in headers:
        raise not_allowed("a request with a cookie says where it comes from (Origin); programs use a token")


def mounted_at(request: Request) -> str:
    """The path of the bridge, with a slash at its end."""
    return f"{request.scope.get('root_path', '').rstrip('/')}/"
