"""What a job tells of the machine that it runs on."""

from __future__ import annotations

import logging

from stoker import Context, Product
from tests.apps.kit import hold

insides = Product("insides")


@insides.command
def stumble(gate: str = "") -> None:
    """Logs an exception, and then fails by another."""
    try:
        int("canary")
    except ValueError:
        logging.getLogger("insides").exception("it stumbled")
    if gate:
        hold(gate)
    raise RuntimeError("it fell")


@insides.command
def unwell() -> dict[str, object]:
    return {"success": False, "why": "the printer is out"}


@insides.command(key="user")
def whose(ctx: Context) -> str | None:
    return ctx.user


@insides.command(callers=())
def within() -> str:
    return "for jobs"
