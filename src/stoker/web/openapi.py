"""``openapi.json``: made from the daemon's table of methods and the commands' own schemas, and the routes here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from stoker._version import __version__
from stoker.model.access import DOES, Access
from stoker.model.job import State
from stoker.web.calls import INNER
from stoker.web.rest import NUMBERS, PAGE_MAX

JSON = "application/json"
STATUSES = {
    "200": "Done", "201": "Stored", "202": "Stored; it goes on", "204": "Done, and nothing to say",
    "303": "Signed in", "304": "Your copy is good",
    "400": "Not understood", "401": "Not signed in", "403": "Not allowed", "404": "Not found",
    "405": "Not with this method", "408": "Too slow", "409": "Not in this state, or there already", "413": "Too large",
    "415": "Not JSON", "422": "Refused, or the job that was called failed",
    "500": "It failed", "502": "The daemon is away", "503": "Full; come again",
}  # fmt: skip
ALWAYS = ("400", "401", "403", "404", "408", "413", "415", "422", "500", "502", "503")
JOB_ID = {"type": "string", "minLength": 1, "maxLength": 72}
TEXT = {"type": "string", "maxLength": 256}
STATES = {"type": "string", "enum": list(State)}
TOPIC = {"type": "string", "maxLength": 100}


def number(name: str, most: int | None = None) -> dict[str, Any]:
    """A whole number in a query."""
    least, top = NUMBERS[name]
    return {"type": "integer", "minimum": least, "maximum": most or top}


def document(schema: dict[str, Any], commands: list[dict[str, Any]], base: str, level: Access) -> bytes:
    """The whole document for people of a level. ``schema`` and ``commands`` are the daemon's answers to the methods of
    these names."""
    schemas = {**schema["schemas"], **_ours()}
    schemas["Listing"]["properties"]["limit"] |= {"minimum": 1, "maximum": PAGE_MAX}
    paths = _fixed(schema["methods"])
    for name, method in schema["methods"].items():
        if name not in INNER and level in method["levels"]:
            paths[f"/methods/{name}"] = {"post": _operation(method["doc"], f"method_{name}", body=method["params"])}
    for command in commands:
        if "web" in command["callers"] and level in DOES:
            paths[f"/call/{command['name']}"] = {"post": _command(command, schemas)}
    told = {
        "openapi": "3.1.0",
        "info": {"title": "Stoker", "version": __version__, "description": "Background work, from a browser."},
        "servers": [{"url": base}],
        "security": [{"token": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "stoker"},
            },
        },
    }
    return msgspec.json.encode(told)


def _fixed(methods: dict[str, Any]) -> dict[str, Any]:
    """The routes that are always there."""
    id = _parameter("id", JOB_ID, where="path")
    page = [
        _parameter("status", STATES), *(_parameter(name, TEXT) for name in ("command", "product", "user", "tag")),
        _parameter("before", JOB_ID), _parameter("limit", number("limit", PAGE_MAX)),
    ]  # fmt: skip
    seconds = _parameter("seconds", {"type": "number", "minimum": 0, "maximum": 600})

    def doc(name: str) -> str:
        return str(methods[name]["doc"]) if name in methods else name

    about = {"parameters": [id]}
    return {
        "/jobs": {
            "get": _operation(doc("jobs"), "list_jobs", page),
            "post": _operation(doc("submit"), "submit_job", body=_ref("Request"), status="201"),
        },
        "/jobs/{id}": {**about, "get": _operation(doc("job"), "get_job")},
        "/jobs/{id}/cancel": {**about, "post": _operation(doc("cancel"), "cancel_job", body=_ref("Reason"))},
        "/jobs/{id}/retry": {**about, "post": _operation(doc("retry"), "retry_job")},
        "/jobs/{id}/wait": {**about, "get": _operation(doc("wait"), "wait_for_job", [seconds])},
        "/jobs/{id}/events": {
            **about,
            "get": _operation(doc("events"), "list_events", [_parameter(one, number(one)) for one in NUMBERS]),
        },
        "/jobs/{id}/stream": {**about, "get": _stream("The events of one job, as Server-Sent Events.", "stream_job")},
        "/commands": {"get": _operation(doc("commands"), "list_commands")},
        "/events": {"get": _stream("Topics, as Server-Sent Events.", "events", _topics())},
        "/events/{stream}": {
            "parameters": [_parameter("stream", TEXT, where="path")],
            "post": _operation("Change what an open stream carries.", "change_stream", body=_ref("Change")),
        },
        "/poll": {
            "get": _operation(
                "What comes within some seconds.", "poll",
                [*_topics(), _parameter("wait", {"type": "number", "minimum": 0, "maximum": 60})],
            )
        },
        "/auth/ticket": {"post": _operation("A proof for an address, good once within 60 s.", "ticket")},
        "/auth/token": {"post": _operation("A fresh token.", "renew_token")},
        "/auth/logout": {"post": _operation("Take back what this session was given.", "logout", status="204")},
    }  # fmt: skip


def _topics() -> list[dict[str, Any]]:
    return [
        _parameter("instance", {"type": "string", "minLength": 1, "maxLength": 256}, required=True),
        *(_parameter(name, {"type": "string"}) for name in ("topics", "tabs", "after", "ticket")),
    ]


def _ours() -> dict[str, Any]:
    names = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 256}, "maxItems": 100}
    after = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "maxLength": 100}, {"type": "null"}]}
    topic = {"type": "object", "properties": {"topic": TOPIC, "after": after}, "required": ["topic"],
             "additionalProperties": False}  # fmt: skip
    properties = {"subscribe": {"type": "array", "items": topic, "maxItems": 100}, "unsubscribe": names,
                  "attach": names, "detach": names}  # fmt: skip
    reason = {"type": "object", "properties": {"reason": {"type": "string"}}, "additionalProperties": False}
    error = {"type": "object", "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
             "required": ["error", "message"]}  # fmt: skip
    return {
        "Change": {"type": "object", "properties": properties, "additionalProperties": False},
        "Reason": reason,
        "Error": error,
    }


def _command(command: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A command's own schema, its definitions under names of their own."""
    prefix = re.sub(r"[^A-Za-z0-9_.-]", "_", command["name"])
    text = msgspec.json.encode(command["schema"]).decode().replace("#/$defs/", f"#/components/schemas/{prefix}.")
    body = msgspec.json.decode(text)
    if isinstance(body, dict):
        schemas.update({f"{prefix}.{name}": found for name, found in body.pop("$defs", {}).items()})
    wait = _parameter("wait", {"type": "boolean"})
    return _operation(command["doc"], f"call_{prefix}", [wait], body=body, more=("202", "409"))


def _operation(
    doc: str, id: str, parameters: Iterable[dict[str, Any]] = (), *, body: Any = None, status: str = "200",
    more: Iterable[str] = ("409",),
) -> dict[str, Any]:  # fmt: skip
    error = {"content": {JSON: {"schema": _ref("Error")}}}
    content: dict[str, Any] = {} if status == "204" else {"content": {JSON: {}}}
    responses: dict[str, Any] = {status: {"description": STATUSES[status], **content}}
    for code in (*ALWAYS, *more):
        told = {"content": {JSON: {}}} if code.startswith("2") else error
        responses[code] = {"description": STATUSES[code], **told}
    operation = {"operationId": id, "summary": doc.partition("\n")[0], "responses": responses,
            "parameters": list(parameters)}  # fmt: skip
    if body is not None:
        operation["requestBody"] = {"content": {JSON: {"schema": body}}}
    return operation


def _stream(doc: str, id: str, parameters: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    told = _operation(doc, id, parameters, more=("204",))
    told["responses"]["200"]["content"] = {"text/event-stream": {}}
    told["responses"]["204"].pop("content", None)
    return told


def _parameter(name: str, schema: dict[str, Any], *, where: str = "query", required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required or where == "path", "schema": schema}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
