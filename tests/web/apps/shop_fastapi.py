"""An application in FastAPI with a login of its own, and the bridge mounted in it."""

from __future__ import annotations

import os

from fastapi import FastAPI
from starlette.requests import HTTPConnection

from stoker.web import Identity, bridge


async def who(request: HTTPConnection) -> Identity | None:
    name = request.cookies.get("login")
    return Identity(name, f"of {name}") if name else None


app = FastAPI()


@app.get("/hello")
def hello() -> str:
    return "hello"


app.mount("/stoker", bridge(authenticate=who, root=os.environ["SHOP_ROOT"], tick="1s"))
