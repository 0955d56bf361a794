"""Routes under the names and shapes that clients of applications around ``surreal-commands`` know.

POST   commands/jobs            {"app", "command", "input"}  →  {"job_id", "status": "submitted", "message"}
GET    commands/jobs            ?command_filter &status_filter &limit
GET    commands/jobs/{id}
DELETE commands/jobs/{id}       cancels it  →  {"job_id", "cancelled"}
POST   commands/jobs/{id}/retry
GET    commands/jobs/{id}/events
GET    commands/registry
GET    commands/registry/debug
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stoker.model.errors import WrongState
from stoker.model.job import State, read_state
from stoker.web.answers import as_json
from stoker.web.auth import Auth
from stoker.web.calls import Calls
from stoker.web.refusal import Refusal
from stoker.web.rest import read_body, read_query
from stoker.wire.records import JobRecord

PREFIX = "command:"
LIMIT, LIMIT_MAX = 50, 1000


class Execute(msgspec.Struct):
    """What is to be done."""

    app: str
    command: str
    input: msgspec.Raw = msgspec.Raw(b"{}")
    context: msgspec.Raw | None = None


class Commands003:
    """The handlers."""

    def __init__(self, auth: Auth, calls: Calls, most: int) -> None:
        self._auth, self._calls, self._most = auth, calls, most

    def routes(self) -> list[Route]:
        table = [
            ("POST", "/commands/jobs", self.execute),
            ("GET", "/commands/jobs", self.listing),
            ("GET", "/commands/jobs/{id}", self.status),
            ("DELETE", "/commands/jobs/{id}", self.cancel),
            ("POST", "/commands/jobs/{id}/retry", self.retry),
            ("GET", "/commands/jobs/{id}/events", self.events),
            ("GET", "/commands/registry", self.registry),
            ("GET", "/commands/registry/debug", self.registry),
        ]
        return [Route(path, self._auth.gate(handler), methods=[method]) for method, path, handler in table]

    async def execute(self, request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await read_body(request, self._most), type=Execute)
        except msgspec.ValidationError as error:
            raise Refusal(422, "invalid_input", str(error)) from None
        name = f"{asked.app}.{asked.command}"
        stored = msgspec.json.decode(await self._ask(request, "submit", {"command": name, "input": asked.input}))
        return as_json(
            {
                "job_id": PREFIX + stored["id"],
                "status": "submitted",
                "message": f"Command '{asked.command}' submitted successfully",
            }
        )

    async def listing(self, request: Request) -> Response:
        query = read_query(request, LIMIT_MAX)
        wanted: dict[str, Any] = {"limit": query.get("limit", LIMIT)}
        if "status_filter" in query:
            wanted["status"] = _state(query["status_filter"])
        if "command_filter" in query:
            wanted["command"] = query["command_filter"]
        found = msgspec.json.decode(await self._ask(request, "jobs", wanted), type=list[JobRecord])
        return as_json([_shown(record) for record in found])

    async def status(self, request: Request) -> Response:
        return as_json(_shown(await self._record(request, "job")))

    async def cancel(self, request: Request) -> Response:
        try:
            record = await self._record(request, "cancel")
        except WrongState:
            return as_json({"job_id": request.path_params["id"], "cancelled": False})
        going = record.status in ("running", "cancelled")
        return as_json({"job_id": PREFIX + record.id, "cancelled": going})

    async def retry(self, request: Request) -> Response:
        return as_json(_shown(await self._record(request, "retry")))

    async def events(self, request: Request) -> Response:
        params = {**read_query(request), "job": request.path_params["id"]}
        return Response(bytes(await self._ask(request, "events", params)), media_type="application/json")

    async def registry(self, request: Request) -> Response:
        found = msgspec.json.decode(await self._ask(request, "commands", {}))
        items = [dict(zip(("app_id", "name"), one["name"].split(".", 1), strict=True)) for one in found]
        by_app: dict[str, list[str]] = {}
        for item in items:
            by_app.setdefault(item["app_id"], []).append(item["name"])
            item["full_id"] = f"{item['app_id']}.{item['name']}"
        return as_json({"total_commands": len(items), "commands_by_app": by_app, "command_items": items})

    async def _record(self, request: Request, method: str) -> JobRecord:
        answer = await self._ask(request, method, {"job": request.path_params["id"]})
        return msgspec.json.decode(answer, type=JobRecord)

    async def _ask(self, request: Request, method: str, params: object) -> msgspec.Raw:
        return await self._calls.call(request.state.caller.identity, method, params)


def _shown(record: JobRecord) -> dict[str, Any]:
    progress = None if record.progress is None else msgspec.to_builtins(record.progress)
    return {
        "job_id": PREFIX + record.id,
        "app": record.app,
        "command": record.command,
        "status": record.status,
        "result": record.output,
        "error_message": record.error,
        "created": record.created,
        "updated": record.updated,
        "progress": progress,
    }


def _state(word: str) -> State:
    try:
        return read_state(word)
    except ValueError as error:
        raise Refusal(422, "refused", f"status_filter: {error}") from None
