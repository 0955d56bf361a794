"""An application in Django, served by ASGI, with the bridge beside it; its sessions say who somebody is."""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount

from stoker.web import Identity, bridge

settings.configure(
    SECRET_KEY="k" * 50, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
)  # fmt: skip
django.setup()


def login(request: HttpRequest) -> HttpResponse:
    request.session["user"] = request.GET["user"]
    return HttpResponse("welcome")


urlpatterns = [path("login", login)]


def who(request: HTTPConnection) -> Identity | None:
    session = SessionStore(request.cookies.get("sessionid"))
    user = session.get("user")
    return Identity(user) if user else None


app = Starlette(
    routes=[
        Mount("/live", bridge(authenticate=who, root=os.environ["SHOP_ROOT"])),
        Mount("/", get_asgi_application()),
    ]
)
