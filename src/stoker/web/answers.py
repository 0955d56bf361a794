"""Answers of our own, as JSON; what the daemon answers is passed on unread."""

from __future__ import annotations

import msgspec
from starlette.responses import Response


def as_json(data: object) -> Response:
    """The response that says this."""
    return Response(msgspec.json.encode(data), media_type="application/json")
