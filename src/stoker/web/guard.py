"""What stands in front of everything: where a request may come from, under which name, how large it may be, and what
every answer says to the browser."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoker.settings import is_loopback
from stoker.web.page import wanted
from stoker.web.refusal import Refusal, answer, not_allowed

LATER = "stoker.later"
"""Where a handler leaves, in the scope, what is to be run after all of the application has returned."""
LOCAL = ("localhost", "127.0.0.1", "::1")
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
METHODS = "GET, POST, DELETE"
ALLOWED_HEADERS = "Authorization, Content-Type, Last-Event-ID"


class Guard:
    """``hosts``: names under which we are asked; None: any, because the application around us looks after that.
    Addresses in digits are always good: a name that is bound to another address cannot look like one."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None, origins: Iterable[str], most: int) -> None:
        self._app = app
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._most = most
        self._hosts: frozenset[str] | None = None
        if hosts is not None:
            named = (urlsplit(origin).hostname or "" for origin in self._origins)
            self._hosts = frozenset((*LOCAL, *(host.lower() for host in hosts), *named))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin is not None and origin.lower() in self._origins

        async def guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                _seal(MutableHeaders(scope=message), origin if allowed else None)
            await send(message)

        try:
            self._check(scope, headers, allowed)
        except Refusal as error:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": error.message[:100]})
            else:
                seen = wanted(scope["method"], headers)
                await answer(error, seen=seen)(scope, receive, guarded)
            return
        if scope["type"] == "http" and scope["method"] == "OPTIONS" and allowed:
            await _preflight(guarded)
            return
        await self._app(scope, receive, guarded)
        later = scope.pop(LATER, None)
        if later is not None:
            await later(scope, receive, guarded)

    def _check(self, scope: Scope, headers: Headers, allowed: bool) -> None:
        self._check_host(headers.get("host", ""))
        self._check_origin(scope, headers, allowed)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:19]) > self._most:
            raise Refusal(413, "too_large", f"a body has {self._most} bytes at most")

    def _check_host(self, host: str) -> None:
        if self._hosts is None:
            return
        name = _hostname(host)
        if name not in self._hosts and not _is_address(name):
            raise not_allowed(f"nobody is served under the name {host[:100]!r}; name it in web.origins")

    def _check_origin(self, scope: Scope, headers: Headers, allowed: bool) -> None:
        """Pages of other sites neither change nor read anything; following a link to us is no more than that."""
        if allowed:
            return
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None:
            if not _same(origin, headers.get("host", "")):
                raise not_allowed(f"pages of {origin[:100]!r} may not use this; name it in web.origins")
        elif site not in (None, "same-origin", "none"):
            linked = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            if scope.get("method") not in ("GET", "HEAD") or not linked:
                raise not_allowed("pages of other sites may not use this")


def _same(origin: str, host: str) -> bool:
    """Whether a page comes from where it asks; http and https are told apart by the browser, and by a proxy's port."""
    found = urlsplit(origin.lower())
    if found.scheme not in ("http", "https"):
        return False
    port = ":443" if found.scheme == "https" else ":80"
    return found.netloc.removesuffix(port) == host.lower().removesuffix(port)


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    if is_loopback(name):
        return True
    return ":" in name or name.replace(".", "").isdigit()


def _seal(headers: MutableHeaders, origin: str | None) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")
    headers.add_vary_header("Origin")
    if origin is not None:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Allow-Credentials"] = "true"
        headers["Access-Control-Expose-Headers"] = "Link"


async def _preflight(send: Send) -> None:
    headers = [
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", ALLOWED_HEADERS.encode()),
        (b"access-control-max-age", b"600"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
