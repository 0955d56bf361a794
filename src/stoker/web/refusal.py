"""How a request is refused: a status, a code, a sentence; and which status an error of the daemon has."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stoker.model.errors import StokerError
from stoker.web.page import page, wanted

STATUS = {
    "protocol": 400,
    "not_allowed": 403,
    "unknown_job": 404,
    "unknown_command": 404,
    "unknown_method": 404,
    "duplicate": 409,
    "id_conflict": 409,
    "wrong_state": 409,
    "too_large": 413,
    "invalid_input": 422,
    "refused": 422,
    "job_failed": 422,  # the job's own matter: a proxy takes 500 for a broken server
    "job_cancelled": 409,
    "app": 500,
    "settings": 500,
    "store_full": 507,
    "daemon": 502,
    "unavailable": 502,
    "silent": 502,
}
"""The status of an error by its code; 500 for one that is not here, 503 for those of the store."""


class Refusal(Exception):
    """The request is refused."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = headers


def unauthorized(message: str = "say who you are: a token, a cookie, or the application's login") -> Refusal:
    return Refusal(401, "unauthorized", message, {"WWW-Authenticate": 'Bearer realm="stoker"'})


def not_allowed(message: str) -> Refusal:
    return Refusal(403, "not_allowed", message)


def full(message: str) -> Refusal:
    return Refusal(503, "full", message, {"Retry-After": "5"})


def status_of(error: StokerError) -> int:
    default = 503 if error.code.startswith("store") else 500
    return STATUS.get(error.code, default)


def body_of(code: str, message: str) -> bytes:
    return msgspec.json.encode({"error": code, "message": message})


def answer(error: Exception, *, seen: bool = False) -> Response:
    """The response that tells of an error: as JSON, or to a person who will see it as a page."""
    if isinstance(error, StokerError):
        error = Refusal(status_of(error), error.code, error.message)
    assert isinstance(error, Refusal)
    if seen:
        return page("Stoker", f"{error.message[:1].upper()}{error.message[1:]}.", error.status, error.headers)
    return Response(body_of(error.code, error.message), error.status, error.headers, "application/json")


async def on_error(request: Request, error: Exception) -> Response:
    return answer(error, seen=wanted(request.method, request.headers))
