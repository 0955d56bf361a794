"""A page in Django, beside the chat: upload a document, and see how far the job is that reads it.

    uvicorn examples.chat.django_view:app --port 8001

The users and their documents are those of the chat. Who somebody is, Django's session says.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import django
from django.conf import settings
from django.contrib.sessions.backends.file import SessionStore
from django.core.asgi import get_asgi_application
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from examples.chat import documents
from examples.chat.app import CSP, HERE, logins
from examples.chat.commands import elaborate_rag
from stoker.web import Identity, bridge

_KEY = documents.home() / "key"
_SESSIONS = documents.home() / "sessions"
_SESSIONS.mkdir(mode=0o700, exist_ok=True)
settings.configure(
    SECRET_KEY=_KEY.read_text() + "django",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    SESSION_ENGINE="django.contrib.sessions.backends.file",
    SESSION_FILE_PATH=str(_SESSIONS),
    SESSION_COOKIE_SAMESITE="Strict",
    CSRF_COOKIE_SAMESITE="Strict",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [HERE / "templates"]}],
)
django.setup()


def who(request: HTTPConnection) -> Identity | None:
    """All that Stoker has to know: Django keeps its sessions where they can be looked up, and ended."""
    key = request.cookies.get(settings.SESSION_COOKIE_NAME)
    user = SessionStore(key).get("user") if key else None
    return Identity(user, session=hashlib.sha256(str(key).encode()).hexdigest()[:16]) if user else None


def shown(request: HttpRequest, **more: Any) -> HttpResponse:
    response = render(request, "progress.html", {"user": request.session.get("user"), **more})
    response["Content-Security-Policy"] = CSP
    return response


def front(request: HttpRequest) -> HttpResponse:
    """The whole application: sign in, upload, and look at a job."""
    user = request.session.get("user")
    if request.method != "POST":
        return shown(request, job=request.GET.get("job", ""))
    if user is None:
        name, password = request.POST.get("user", ""), request.POST.get("password", "")
        if not logins.knows(name, password):
            return shown(request, problem="That is not the password.")
        request.session.cycle_key()
        request.session["user"] = name
        return redirect("/")
    if "out" in request.POST:
        request.session.flush()
        return redirect("/")
    file = request.FILES.get("document")
    if not isinstance(file, UploadedFile):
        return shown(request, problem="Choose a document first.")
    try:
        name = asyncio.run(documents.keep(user, str(file.name), _blocks(file)))
    except documents.Refused as error:
        return shown(request, problem=str(error))
    job = elaborate_rag.submit(names=[name], user=user)
    return redirect(f"/?job={job.id}")


async def _blocks(file: UploadedFile) -> AsyncIterator[bytes]:
    for block in file.chunks():
        yield block


urlpatterns = [path("", front)]
app = Starlette(
    routes=[
        Mount("/stoker", bridge(authenticate=who)),
        Mount("/static", StaticFiles(directory=HERE / "static")),
        Mount("/", get_asgi_application()),
    ]
)
