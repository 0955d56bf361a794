"""Telling somebody, as commands: ``alerts.webhook``, ``alerts.mail``, ``alerts.sentry``, ``alerts.check_in``; and
``alerts.beat``, which stands for a run of a foreign cron.

Their input says what is told; whom, and with which key, comes from this node's own settings: the router puts them in
when the job begins. References to secrets are resolved here, in the job's own process.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import smtplib
import ssl
import time
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import msgspec

from stoker.model.alert import EVENT, PRODUCT, RETRIES, Alert, CheckIn
from stoker.model.command import Command, Isolation
from stoker.model.definition import define
from stoker.model.monitor import Health
from stoker.run import references
from stoker.run.context import Context
from stoker.settings.fields import Monitors

SIGNATURE = "X-Stoker-Signature"
"""The header that holds ``t=<seconds>,v1=<hex>``: HMAC-SHA256 over ``<seconds>.<body>``."""
TIMEOUT = 20.0


class NotTold(Exception):
    """Nobody could be told; the job is tried again."""


class RunFailed(Exception):
    """A foreign run said that it has failed."""


class How(msgspec.Struct, frozen=True):
    """The settings of this node, as far as alerts need them."""

    monitors: Monitors
    env: str = ""


def webhook(alert: Alert, ctx: Context, how: How | None = None) -> dict[str, int]:
    """POST an alert to the webhook, signed."""
    from stoker.wire import outbound  # what it loads would make every fork slower

    told = _how(how).monitors
    address, key = _resolved(webhook=told.webhook, key=told.webhook_key)
    body = msgspec.json.encode({"event": EVENT, "title": alert.title, **msgspec.to_builtins(alert)})
    headers = {"Content-Type": "application/json", "Idempotency-Key": alert.id}
    if key:
        headers[SIGNATURE] = signature(key, body, time.time())
    try:
        answer = outbound.send("POST", address, body=body, headers=headers, allowed=told.hosts, timeout=TIMEOUT)
    except outbound.Outside as error:
        raise NotTold(str(error).replace("schedules.hosts", "monitors.hosts")) from None
    if not 200 <= answer.status < 300:
        raise NotTold(f"the webhook answered with status {answer.status}")
    return {"status": answer.status}


def mail(alert: Alert, ctx: Context, how: How | None = None) -> dict[str, int]:
    """Send an alert by e-mail."""
    told = _how(how).monitors
    user, password = _resolved(user=told.smtp_user, password=told.smtp_password)
    message = EmailMessage()
    message["Subject"] = " ".join(f"[stoker] {alert.title}".split())
    message["From"], message["To"] = told.mail_from, ", ".join(told.mail_to)
    message["Message-ID"] = f"<{alert.id}@stoker>"
    message.set_content(alert.text)
    try:
        with _mail_server(told.smtp) as server:
            if user:
                server.login(user, password)
            refused = server.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise NotTold(f"the mail server: {type(error).__name__}: {str(error)[:300]}") from None
    if refused:
        raise NotTold(f"the mail server refused {', '.join(sorted(refused))[:300]}")
    return {"recipients": len(told.mail_to)}


def sentry(alert: Alert, ctx: Context, how: How | None = None) -> dict[str, int]:
    """Send an alert to Sentry, as an event of the environment."""
    known = _how(how)
    bad = alert.health is not Health.OK
    payload = {
        "event_id": alert.id, "timestamp": time.time(), "platform": "python", "logger": "stoker.monitors",
        "level": "error" if bad else "info", "environment": known.env or "production",
        "message": {"formatted": alert.title}, "fingerprint": ["stoker", alert.schedule, str(alert.health)],
        "tags": {"schedule": alert.schedule, "health": str(alert.health)},
        "extra": msgspec.to_builtins(alert),
    }  # fmt: skip
    return _to_sentry(known, "event", payload)


def check_in(check: CheckIn, ctx: Context, how: How | None = None) -> dict[str, int]:
    """Tell Sentry that a run began or ended."""
    known = _how(how)
    payload: dict[str, Any] = {
        "check_in_id": check.id, "monitor_slug": check.slug, "status": check.status,
        "environment": known.env or "production",
    }  # fmt: skip
    if check.duration is not None:
        payload["duration"] = check.duration
    if check.crontab is not None:
        payload["monitor_config"] = {
            "schedule": {"type": "crontab", "value": check.crontab}, "timezone": check.tz,
            "checkin_margin": math.ceil(check.margin / 60), "failure_issue_threshold": check.failures,
            **({} if check.longest is None else {"max_runtime": math.ceil(check.longest / 60)}),
        }  # fmt: skip
    return _to_sentry(known, "check_in", payload)


def beat(ctx: Context, schedule: str, status: str = "ok", message: str = "") -> str:
    """A run of a foreign cron, as it said of itself."""
    if status != "ok":
        raise RunFailed(message or status)
    return message


def signature(key: str, body: bytes, at: float) -> str:
    """What stands in the header of a signed webhook."""
    seconds = str(int(at))
    return f"t={seconds},v1={hmac.digest(key.encode(), seconds.encode() + b'.' + body, hashlib.sha256).hex()}"


def commands() -> dict[str, Command[Any, Any]]:
    """All of them, for the application of a node that watches its schedules."""
    found: dict[str, Command[Any, Any]] = {}
    for handler in (webhook, mail, sentry, check_in, beat):
        spec, signature, rules = define(
            PRODUCT, handler, isolation=Isolation.FORK, callers=(), wait=False, timeout=60,
            retries=0 if handler is beat else RETRIES,
        )  # fmt: skip
        found[spec.name] = Command(handler, spec, signature, rules)
    return found


def _how(how: How | None) -> How:
    if how is None:
        raise NotTold("this node does not say whom to tell: its settings have no [monitors]")
    return how


def _resolved(**values: str) -> list[str]:
    try:
        return list(references.resolve(values).values())
    except references.Unresolved as error:
        raise NotTold(str(error)) from None


def _mail_server(address: str) -> smtplib.SMTP:
    parts = urlsplit(address if "://" in address else f"smtp://{address}")
    host = parts.hostname or "localhost"
    secure = ssl.create_default_context()
    if parts.scheme == "smtps":
        return smtplib.SMTP_SSL(host, parts.port or 465, timeout=TIMEOUT, context=secure)
    server = smtplib.SMTP(host, parts.port or (587 if parts.scheme == "smtp+starttls" else 25), timeout=TIMEOUT)
    if parts.scheme == "smtp+starttls":
        server.starttls(context=secure)
    return server


def _to_sentry(how: How, kind: str, payload: dict[str, Any]) -> dict[str, int]:
    """One item, in the shape that Sentry's own library gives it, by our own way out: it says whether it arrived."""
    try:
        from sentry_sdk.consts import EndpointType
        from sentry_sdk.envelope import Envelope, Item, PayloadRef
        from sentry_sdk.utils import BadDsn, Dsn
    except ImportError:
        raise NotTold("sentry-sdk is not installed: pip install 'stoker[sentry]'") from None
    from stoker.wire import outbound

    (text,) = _resolved(dsn=how.monitors.sentry)
    try:
        auth = Dsn(text).to_auth("stoker")
    except (BadDsn, ValueError):
        raise NotTold("monitors.sentry is not a DSN") from None
    envelope = Envelope(headers={"event_id": payload["event_id"]} if "event_id" in payload else {})
    envelope.add_item(Item(payload=PayloadRef(json=payload), type=kind))
    headers = {"Content-Type": "application/x-sentry-envelope", "X-Sentry-Auth": auth.to_header()}
    try:
        answer = outbound.send(
            "POST", auth.get_api_url(EndpointType.ENVELOPE), body=envelope.serialize(), headers=headers,
            allowed=how.monitors.hosts, timeout=TIMEOUT,
        )  # fmt: skip
    except outbound.Outside as error:
        raise NotTold(str(error).replace("schedules.hosts", "monitors.hosts")) from None
    if not 200 <= answer.status < 300:
        raise NotTold(f"Sentry answered with status {answer.status}")
    return {"status": answer.status}
