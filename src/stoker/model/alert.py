"""Alerts: what is told when the health of a schedule changes, each as jobs of the product ``alerts``.

    change ──► alerts.webhook, alerts.mail, alerts.sentry     as far as the settings name somebody to tell
    runs   ──► alerts.check_in                                where they name a Sentry project

The id of such a job is made of what it tells. So it does not matter which nodes tell it, or how often: there is one.
"""

from __future__ import annotations

import hashlib

import msgspec

from stoker.model.monitor import Change, Health
from stoker.model.slot import shown

PRODUCT = "alerts"
EVENT = "alert"
"""The event that subscribers hear."""
WEBHOOK, MAIL, SENTRY, CHECK_IN, BEAT = (
    f"{PRODUCT}.{name}" for name in ("webhook", "mail", "sentry", "check_in", "beat")
)
RETRIES = 8
"""How often an alert that cannot be delivered is tried again."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What is told. ``since`` is the slot that brought it (ISO 8601, UTC), None where nobody knows; ``reminder`` counts
    from 0."""

    id: str
    schedule: str
    node: str | None
    health: Health
    before: Health | None
    since: str | None
    why: str
    job: str | None
    reminder: int = 0

    @property
    def title(self) -> str:
        """One line for people."""
        again = ", still" if self.reminder else ""
        words = {Health.OK: "is well again", Health.TOO_LONG: f"takes too long{again}"}
        return f"{self.schedule} {words.get(self.health, f'is {self.health}{again}')}"

    @property
    def text(self) -> str:
        lines = [
            self.title, "", self.why,
            *([f"since: {self.since}"] if self.since else []),
            *([f"node: {self.node}"] if self.node else []),
            *([f"job: {self.job}"] if self.job else []),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


class CheckIn(msgspec.Struct, frozen=True, kw_only=True):
    """That a run began or ended: ``in_progress``, ``ok`` or ``error``. ``id`` is that of its job."""

    id: str
    slug: str
    status: str
    duration: float | None = None
    crontab: str | None = None
    tz: str = "UTC"
    margin: float = 300.0
    longest: float | None = None
    failures: int = 1


def alert(name: str, node: str, change: Change, now: float, remind: float) -> Alert | None:
    """What is to be told of a change, at this moment; None where there is nothing. The same on every node. Of a change
    that was seen only from its end (``before`` is None) nothing is told but the reminders."""
    bad = change.health is not Health.OK
    number = 0 if remind <= 0 or not bad else int(max(0.0, now - change.since) / remind)
    what = (name, node, change.health, f"{change.since:.3f}", number)
    since = shown(change.since)
    if change.before is None:
        if not bad or remind <= 0:
            return None
        number = int(now / remind)
        what, since = (name, node, change.health, "again", number), None  # type: ignore[assignment]
    elif not bad and change.before is Health.OK:
        return None
    id = hashlib.blake2b("\n".join(map(str, (EVENT, *what))).encode(), digest_size=16).hexdigest()
    return Alert(
        id=id, schedule=name, node=node or None, health=change.health, before=change.before, since=since,
        why=change.why, job=change.job, reminder=number,
    )  # fmt: skip


def next_reminder(change: Change, now: float, remind: float) -> float | None:
    """When an alarm that goes on is told again."""
    if remind <= 0 or change.health is Health.OK:
        return None
    base = 0.0 if change.before is None else change.since
    return base + (int(max(0.0, now - base) / remind) + 1) * remind


def job_id(id: str, command: str, part: str = "") -> str:
    """The id of the job that tells this over that command."""
    return hashlib.blake2b(f"{command}\n{id}\n{part}".encode(), digest_size=16).hexdigest()
