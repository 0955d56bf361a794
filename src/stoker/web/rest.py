"""Plain requests: jobs, commands, methods; and changing what a stream carries."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from stoker.model.errors import UnknownJob
from stoker.web.answers import as_json
from stoker.web.auth import Auth, Handler
from stoker.web.calls import Calls
from stoker.web.hub import Hub, read_cursors
from stoker.web.identity import Caller
from stoker.web.link import compact
from stoker.web.poll import Polls
from stoker.web.refusal import Refusal, not_allowed
from stoker.web.sse import EventStream, asked_tabs, asked_topics
from stoker.web.topics import JobTopic

BODY_WITHIN = 30.0
"""Seconds that a body may take to arrive."""
PAGE, PAGE_MAX = 50, 1000
EVENTS_MAX = 10_000
WAIT, WAIT_MAX = 25.0, 600.0
SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
NUMBERS: dict[str, tuple[int, int]] = {"after": (0, 1 << 62), "limit": (1, EVENTS_MAX)}
"""Least and most of numbers in a query."""


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """What a stream shall carry from now on."""

    subscribe: list[Subscribe] = []
    unsubscribe: list[str] = []
    attach: list[str] = []
    detach: list[str] = []


class Subscribe(msgspec.Struct, forbid_unknown_fields=True):
    topic: str
    after: int | str | None = None


async def read_body(request: Request, most: int) -> msgspec.Raw:
    """The JSON of a request, on one line; ``{}`` when there is none. Raises :class:`Refusal` or a StokerError."""
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for part in request.stream():
                data += part
                if len(data) > most:
                    raise Refusal(413, "too_large", f"a body has {most} bytes at most")
    except TimeoutError:
        raise Refusal(408, "refused", f"the body did not arrive within {BODY_WITHIN:g} s") from None
    except ClientDisconnect:
        raise Refusal(400, "protocol", "the body ended too early") from None
    if not data.strip():
        return msgspec.Raw(b"{}")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "protocol", "a body is JSON: Content-Type: application/json")
    return compact(bytes(data))


class Rest:
    """The handlers of plain requests."""

    def __init__(self, auth: Auth, hub: Hub, calls: Calls, most: int) -> None:
        self._auth, self._hub, self._calls, self._most = auth, hub, calls, most
        self._polls = Polls(hub)

    def routes(self) -> list[Route]:
        """In the order in which they are looked at."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/jobs", self.jobs),
            ("POST", "/jobs", self.submit),
            ("GET", "/jobs/{id}", self.job),
            ("POST", "/jobs/{id}/cancel", self.cancel),
            ("POST", "/jobs/{id}/retry", self.retry),
            ("GET", "/jobs/{id}/wait", self.wait),
            ("GET", "/jobs/{id}/events", self.events),
            ("POST", "/call/{command}", self.call),
            ("GET", "/commands", self.commands),
            ("POST", "/methods/{name}", self.method),
            ("POST", "/events/{stream}", self.change),
            ("POST", "/auth/ticket", self._auth.ticket),
            ("POST", "/auth/token", self._auth.token),
            ("POST", "/auth/logout", self._auth.logout),
        ]
        streams: list[tuple[str, str, Handler]] = [
            ("GET", "/jobs/{id}/stream", self.stream),
            ("GET", "/events", self.sse),
            ("GET", "/poll", self.poll),
        ]
        gate = self._auth.gate
        return [
            *(Route(path, gate(handler), methods=[method]) for method, path, handler in table),
            *(Route(path, gate(handler, ticket=True), methods=[method]) for method, path, handler in streams),
        ]

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def submit(self, request: Request) -> Response:
        return await self._ask(request, "submit", await self._body(request), status=201)

    async def jobs(self, request: Request) -> Response:
        """A page, newest first; ``Link`` leads to the next one."""
        query = read_query(request, PAGE_MAX)
        limit = query.setdefault("limit", PAGE)
        answer = await self._ask(request, "jobs", {**query, "limit": limit})
        found = msgspec.json.decode(answer.body, type=list[dict[str, msgspec.Raw]])
        if len(found) == limit:
            last = msgspec.json.decode(found[-1]["id"])
            answer.headers["Link"] = f'<jobs?{urlencode({**query, "limit": limit, "before": last})}>; rel="next"'
        return answer

    async def job(self, request: Request) -> Response:
        return await self._about(request, "job")

    async def cancel(self, request: Request) -> Response:
        try:
            given = msgspec.json.decode(await self._body(request), type=dict[str, Any])
        except msgspec.ValidationError as error:
            raise Refusal(400, "protocol", f"wrong parameters: {error}") from None
        return await self._about(request, "cancel", given)

    async def retry(self, request: Request) -> Response:
        return await self._about(request, "retry")

    async def wait(self, request: Request) -> Response:
        try:
            seconds = float(request.query_params.get("seconds", WAIT))
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= WAIT_MAX:
            raise Refusal(422, "refused", f"seconds is a number from 0 to {WAIT_MAX:g}")
        return await self._about(request, "wait", {"seconds": seconds})

    async def events(self, request: Request) -> Response:
        return await self._about(request, "events", read_query(request))

    async def stream(self, request: Request) -> Response:
        """The events of one job for a bare EventSource, which comes again when a stream ends, and is told by status 204
        that there is no more."""
        caller: Caller = request.state.caller
        name = f"job:{request.path_params['id']}"
        last = request.headers.get("last-event-id", "") or request.query_params.get("after", "")
        after = int(last) if last.isdecimal() and len(last) < 19 else None
        await self._hub.link.ready()  # a bridge in an application connects with its first request
        stream = self._hub.open(caller, "plain", (), (), "")
        try:
            self._hub.carry(stream, name, None if after is None else (after, None))
            (place,) = stream.places.values()
            topic = place.topic
            if not isinstance(topic, JobTopic):
                raise UnknownJob(f"there is no job {name}")
            await topic.check(caller.identity)
            if after is not None and await topic.over(after):
                self._hub.close(stream)
                return Response(status_code=204)
        except BaseException:
            self._hub.close(stream)
            raise
        return EventStream(self._hub, stream, plain=True)

    # ── commands and methods ─────────────────────────────────────────────────────────────────────────────────────────

    async def commands(self, request: Request) -> Response:
        return await self._ask(request, "commands", {})

    async def call(self, request: Request) -> Response:
        """A command, and its value; with ``?wait=false`` the job's id."""
        name = request.path_params["command"]
        if "." not in name:
            raise Refusal(404, "unknown_command", f"{name[:100]!r} is no command; they are called product.name")
        word = request.query_params.get("wait", "true").lower()
        if word not in SWITCH:
            raise Refusal(422, "refused", f"wait is true or false, not {word[:60]!r}")
        wait = SWITCH[word]
        return await self._ask(request, name, await self._body(request), wait=wait, status=200 if wait else 202)

    async def method(self, request: Request) -> Response:
        name = request.path_params["name"]
        if "." in name:
            raise Refusal(404, "unknown_method", f"there is no method {name[:100]!r}; commands are under call/")
        return await self._ask(request, name, await self._body(request))

    # ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def sse(self, request: Request) -> Response:
        caller: Caller = request.state.caller
        query = request.query_params
        after = request.headers.get("last-event-id") or query.get("after", "")
        instance = query.get("instance", "")
        stream = self._hub.open(caller, instance, asked_tabs(request), asked_topics(request), after)
        return EventStream(self._hub, stream)

    async def change(self, request: Request) -> Response:
        """Carry more or less from now on; the stream itself goes on."""
        caller: Caller = request.state.caller
        stream = self._hub.streams.get(request.path_params["stream"])
        if stream is None or stream.caller.identity != caller.identity:
            raise Refusal(404, "unknown_stream", "there is no such stream; open one with GET events")
        try:
            change = msgspec.json.decode(await self._body(request), type=Change)
        except msgspec.ValidationError as error:
            raise Refusal(422, "refused", f"wrong parameters: {error}") from None
        for topic in change.unsubscribe:
            self._hub.drop(stream, topic)
        for wanted in change.subscribe:
            self._hub.carry(stream, wanted.topic, cursor(wanted.topic, wanted.after))
        await self._hub.set_tabs(stream, change.attach, change.detach)
        return as_json({"topics": list(stream.places), "tabs": sorted(stream.tabs)})

    async def poll(self, request: Request) -> Response:
        return await self._polls.poll(request, request.state.caller)

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _body(self, request: Request) -> msgspec.Raw:
        return await read_body(request, self._most)

    async def _about(self, request: Request, method: str, params: dict[str, Any] | None = None) -> Response:
        return await self._ask(request, method, {**(params or {}), "job": request.path_params["id"]})

    async def _ask(
        self, request: Request, method: str, params: object, *, wait: bool | None = None, status: int = 200
    ) -> Response:
        caller: Caller = request.state.caller
        answer = await self._calls.call(caller.identity, method, params, wait=wait)
        return Response(bytes(answer), status, media_type="application/json")


def cursor(topic: str, after: int | str | None) -> tuple[int, str | None] | None:
    """Where to begin, as a subscription says it: an offset, or ``epoch.offset``."""
    return None if after is None else read_cursors(f"{topic}@{after}").get(topic)


def read_query(request: Request, most: int = EVENTS_MAX) -> dict[str, Any]:
    """The parameters in an address; numbers as such, ``limit`` of ``most`` at most. Raises :class:`Refusal`."""
    found: dict[str, Any] = {}
    for name, value in request.query_params.items():
        if name == "ticket":
            raise not_allowed("tickets are for streams; send the token in a header")
        if name in NUMBERS:
            least, bound = NUMBERS[name]
            bound = min(bound, most) if name == "limit" else bound
            if not (value.isdecimal() and len(value) < 20 and least <= int(value) <= bound):
                raise Refusal(422, "refused", f"{name} is a whole number from {least} to {bound}")
            found[name] = int(value)
        else:
            found[name] = value
    return found
