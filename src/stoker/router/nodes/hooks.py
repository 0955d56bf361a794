"""What happened to roles and nodes, as jobs of the hooks that want to know.

The id of such a job is made of what happened. So it does not matter who submits it, or how often: there is one, and any
live node runs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
import structlog

from stoker.model import hook
from stoker.model.command import CommandSpec
from stoker.model.errors import IdConflict, StoreError
from stoker.model.job import Claimed, Submission, Submitted
from stoker.model.outcome import Cancelled, Outcome
from stoker.model.request import Request, resolve
from stoker.model.role import Holding, Peer

log = structlog.get_logger(role="router")

Submit = Callable[[list[Submission]], Awaitable[list[Submitted | Exception]]]
_TERM, _ROLE = "term:", "role:"


class Hooks:
    """Submits what :meth:`acquired` and its kin noted; what could not be stored is kept for the next :meth:`send`."""

    def __init__(
        self, commands: Callable[[], Mapping[str, CommandSpec]], now: Callable[[], float], submit: Submit
    ) -> None:
        self._commands = commands
        self._now = now
        self._submit = submit
        self._pending: dict[str, Submission] = {}
        self._claims: dict[str, Holding] = {}
        """Those of the pending that are for a new holder, and what it held."""

    @property
    def want_the_dead(self) -> bool:
        """Whether any hook is for dead nodes."""
        return any(hook.is_for(spec, hook.NODE_DEAD) for spec in self._commands().values())

    def acquired(self, role: str, term: int, node: str, boot: str) -> None:
        """A role has a new holder."""
        for id in self._of_role(hook.ACQUIRED, role, term, node, boot):
            self._claims[id] = Holding(role, term)

    def lost(self, role: str, term: int, node: str, boot: str) -> None:
        """A term is over, which this boot had."""
        self._of_role(hook.LOST, role, term, node, boot)

    def node_dead(self, peer: Peer, roles: Iterable[str]) -> None:
        """A node was silent for too long."""
        facts = {
            "event": hook.NODE_DEAD, "node": peer.node, "boot": peer.boot, "host": peer.host, "pid": peer.pid,
            "heartbeat": peer.seen, "roles": sorted(roles),
        }  # fmt: skip
        for spec in hook.wanting(self._commands().values(), hook.NODE_DEAD):
            self._note(spec, facts, (peer.boot,))

    async def send(self, held: Mapping[str, int]) -> bool:
        """Store what was noted; False when it cannot be now, and is still noted. Never raises for the store of jobs:
        roles may be in another one, and are held whatever becomes of their hooks. What was to be told of a holding that
        is over is told no more: ``held`` are the terms of those that are not."""
        for id, claim in list(self._claims.items()):
            if held.get(claim.name) != claim.term:
                self._claims.pop(id)
                self._pending.pop(id, None)
        if not self._pending:
            return True
        given = list(self._pending.values())
        try:
            answers = await self._submit(given)
        except StoreError as error:
            log.error("cannot submit hooks; trying again", hooks=len(given), error=error.message)
            return False
        for submission, answer in zip(given, answers, strict=True):
            self._pending.pop(submission.id, None)
            self._claims.pop(submission.id, None)
            if isinstance(answer, Exception) and not isinstance(answer, IdConflict):
                log.error("a hook was refused", command=submission.command, error=str(answer))
        return True

    def _of_role(self, kind: str, role: str, term: int, node: str, boot: str) -> list[str]:
        facts = {"event": kind, "role": role, "term": term, "node": node, "boot": boot}
        tags = (f"{_ROLE}{role}", f"{_TERM}{term}")
        specs = hook.wanting(self._commands().values(), kind, role)
        return [self._note(spec, facts, (role, term, boot), tags, role) for spec in specs]

    def _note(
        self, spec: CommandSpec, facts: dict[str, Any], what: tuple[str | int, ...], tags: tuple[str, ...] = (),
        key: str | None = None,
    ) -> str:  # fmt: skip
        """``key``: jobs of one hook under it run one after the other, so that the last word is the newest."""
        text = "\n".join(map(str, (spec.name, spec.hook, *what)))
        id = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        input = msgspec.Raw(hook.input_of(spec, facts))
        request = Request(command=spec.name, input=input, id=id, tags=tags, key=None if spec.key else key)
        self._pending[id] = resolve(request, spec, self._now())
        return id


def outdated(job: Claimed, spec: CommandSpec, terms: Mapping[str, int]) -> Outcome | None:
    """What becomes of a hook for a new holder, when there is a newer one: it must not act."""
    if not hook.is_for(spec, hook.ACQUIRED):
        return None
    told = {tag[:5]: tag[5:] for tag in job.tags}
    role, term = told.get(_ROLE, ""), told.get(_TERM, "")
    if term.isdecimal() and int(term) < terms.get(role, 0):
        return Cancelled(f"term {term} of the role {role} is over; the newest is {terms[role]}")
    return None
