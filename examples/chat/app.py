"""The application: its login, its pages, uploads; and the bridge, which does everything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.chat import documents, models
from examples.chat.commands import elaborate_rag
from examples.chat.logins import LIFE, Login, Logins
from stoker import AsyncClient
from stoker.web import Identity, bridge

HERE = Path(__file__).parent
COOKIE = "chat"
FORM_MAX = 10_000
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
logins = Logins()
stoker = AsyncClient()


def who(request: HTTPConnection) -> Identity | None:
    """All that Stoker has to know of our login. Asked again while a stream is open, so signing out ends that."""
    login = logins.find(request.cookies.get(COOKIE, ""))
    return Identity(login.user, session=login.id) if login else None


def signed_in(request: Request) -> Login:
    """Who makes the request; 401 for nobody. What changes something must come from a page of ours."""
    login = logins.find(request.cookies.get(COOKIE, ""))
    if login is None:
        raise HTTPException(401, "sign in first")
    if request.method not in ("GET", "HEAD"):
        from_our_page(request)
    return login


def from_our_page(request: Request) -> None:
    """Browsers say where a request comes from. The cookie, which requests of other sites do not carry, is the second
    lock."""
    origin = request.headers.get("origin", "")
    if urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "not from a page of this application")


SignedIn = Annotated[Login, Depends(signed_in)]


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    print(f"chat: users and passwords are in {logins.file}", flush=True)
    yield
    await stoker.close()


app = FastAPI(title="Chat", lifespan=lifespan, openapi_url=None)
app.mount("/stoker", bridge(authenticate=who))
app.mount("/static", StaticFiles(directory=HERE / "static"))


class Sealed:
    """What every answer says to the browser. Plain ASGI, so that streams pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sealed)


app.add_middleware(Sealed)


def page(name: str, **texts: str) -> HTMLResponse:
    html = (HERE / "static" / f"{name}.html").read_text("utf-8")
    for key, text in texts.items():
        html = html.replace(f"<!--{key}-->", text)
    return HTMLResponse(html)


@app.get("/")
def front(request: Request) -> Response:
    return page("chat") if who(request) else RedirectResponse("/login", 303)


@app.get("/login")
def login_page() -> Response:
    return page("login")


@app.post("/login")
async def login(request: Request) -> Response:
    from_our_page(request)
    if not request.headers.get("content-length", "").isdigit() or int(request.headers["content-length"]) > FORM_MAX:
        raise HTTPException(413, "that is no login")
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    user, password = (form.get(name, [""])[0] for name in ("user", "password"))
    if not logins.knows(user, password):
        refused = page("login", problem="That is not the password; after five tries there is a pause of a minute.")
        refused.status_code = 403
        return refused
    response = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    cookie = await asyncio.to_thread(logins.sign_in, user)
    response.set_cookie(COOKIE, cookie, max_age=LIFE, httponly=True, samesite="strict", secure=secure)
    return response


@app.post("/logout")
def logout(login: SignedIn) -> Response:
    logins.sign_out(login)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response


@app.get("/me")
def me(login: SignedIn) -> dict[str, str]:
    return {"user": login.user, "model": models.chosen().name}


@app.get("/documents")
def list_documents(login: SignedIn) -> list[dict[str, Any]]:
    return [known._asdict() for known in documents.known(login.user)]


@app.post("/documents", status_code=201)
async def upload(request: Request, login: SignedIn, name: Annotated[str, Query(max_length=255)]) -> dict[str, str]:
    """The body is the document."""
    try:
        return {"name": await documents.keep(login.user, name, request.stream())}
    except documents.Refused as error:
        raise HTTPException(422, str(error)) from None


class Names(BaseModel):
    names: list[str] = Field(min_length=1, max_length=50)


@app.post("/documents/build", status_code=202)
async def build(chosen: Names, login: SignedIn) -> dict[str, str]:
    """Have the vector base built; the job that does it."""
    job = await stoker.submit(elaborate_rag, names=chosen.names, user=login.user)
    return {"job": job.id}
