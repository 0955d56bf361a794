"""``POST heartbeat/<name>?status=ok``: a cron on another machine says that it ran.

It shows the token of that name (``stoker heartbeat NAME --token``), which is good for nothing else, and until the key
of the bridge is another one.
"""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stoker.web.calls import Calls
from stoker.web.identity import Identity
from stoker.web.refusal import unauthorized
from stoker.web.tokens import Signer

BEARER = "Bearer "


class Heartbeats:
    """The one route, outside of what browsers are asked to show."""

    def __init__(self, signer: Signer, calls: Calls) -> None:
        self._signer = signer
        self._calls = calls

    def routes(self) -> list[BaseRoute]:
        return [Route("/heartbeat/{name}", self._beat, methods=["POST"])]

    async def _beat(self, request: Request) -> Response:
        name = str(request.path_params["name"])
        shown = request.headers.get("authorization", "").removeprefix(BEARER)
        if not hmac.compare_digest(shown.encode(), self._signer.heartbeat(name).encode()):
            raise unauthorized(
                "a heartbeat shows its own token: Authorization: Bearer …, of `stoker heartbeat --token`"
            )
        query = request.query_params
        asked = {"name": name, "status": query.get("status", "ok"), "message": query.get("message", "")}
        answer = await self._calls.call(Identity("heartbeat", level="operator"), "heartbeat", asked)
        return Response(bytes(answer), media_type="application/json")
