"""What clients may ask about people: push to them, read what was pushed, and see who is there."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.model import ids
from stoker.model.audience import EVERYBODY, NOTIFICATION, Address, Level, NewMessage, Roles, Tab
from stoker.router.house import House
from stoker.wire.messages import Offset, Who
from stoker.wire.records import Delivery, MessageRecord, message_record

PAGE_MAX = 1000
NULL = msgspec.Raw(b"null")


class SendToAll(msgspec.Struct, forbid_unknown_fields=True):
    event: str
    data: msgspec.Raw = NULL
    role: str = Roles.web
    user: str = EVERYBODY
    session: str | None = None
    instance: str | None = None
    pulse: bool = False
    id: str | None = None


class NotifyNow(msgspec.Struct, forbid_unknown_fields=True):
    user: str
    message: str
    title: str | None = None
    level: Level = Level.INFO
    data: msgspec.Raw = NULL
    id: str | None = None


class Messages(msgspec.Struct, forbid_unknown_fields=True):
    after: Offset = 0
    limit: int = 100
    epoch: str | None = None
    to: Tab | None = None


class MessagePage(msgspec.Struct, frozen=True):
    """Pushed events beyond a cursor; ``offset`` is where to read on."""

    epoch: str
    offset: int
    reset: bool
    messages: list[MessageRecord]


async def send_to_all(house: House, _role: str, params: SendToAll) -> Delivery:
    """Push an event to everybody, to a user, a session or a tab; answered when it is on disk, unless it is a pulse."""
    to = Address(params.user, params.session, params.instance)
    message = NewMessage(params.id or ids.new_job_id(), params.role, to, params.event, bytes(params.data))
    return await _pushed(house, message, pulse=params.pulse)


async def notify_now(house: House, _role: str, params: NotifyNow) -> Delivery:
    """Push a notification to a user."""
    data = msgspec.json.encode(
        {"title": params.title, "message": params.message, "level": params.level, "data": params.data}
    )
    message = NewMessage(params.id or ids.new_job_id(), Roles.web, Address(params.user), NOTIFICATION, data)
    return await _pushed(house, message, pulse=False)


async def messages(house: House, role: str, params: Messages) -> MessagePage:
    """What was pushed to clients of the caller's role beyond a cursor."""
    limit = max(1, min(params.limit, PAGE_MAX))
    page = await house.store.messages.after(
        max(0, params.after), limit, role=role, to=params.to, epoch=params.epoch
    )  # fmt: skip
    return MessagePage(page.epoch, page.offset, page.reset, [message_record(one) for one in page.messages])


async def own_messages(_house: House, who: Who | None, params: Messages) -> Messages:
    """What was pushed to the tab for which the bridge asks; without ``who`` to any."""
    if who is None or who.all:
        return params
    return msgspec.structs.replace(params, to=Tab(who.user, who.session, who.instance))


async def clients(house: House, _role: str, _params: Any) -> dict[str, Any]:
    """Who is connected to this node: figures by role, and the tree of tabs."""
    tree, by_role = house.hub.tree, house.figures.clients
    return {
        "script": by_role.get(Roles.script, 0),
        "web": by_role.get(Roles.web, 0),
        "streams": house.figures.open_streams,
        "tabs": tree.size,
        "tree": tree.shown(),
    }


async def _pushed(house: House, message: NewMessage, *, pulse: bool) -> Delivery:
    if pulse:
        house.hub.flash(message)
        return Delivery(None, house.hub.count(message.role, message.to))
    offset = await house.hub.push(message)
    return Delivery(offset, house.hub.count(message.role, message.to))
