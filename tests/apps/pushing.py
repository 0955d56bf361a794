"""Commands that push to people, from every kind of handler."""

from __future__ import annotations

from typing import Any

from stoker import Context, Product, Roles
from tests.apps.kit import hold

pushing = Product("pushing")
WEB_ONLY = ("web",)


@pushing.command
def tell(user: str, data: Any, ctx: Context, session: str | None = None, instance: str | None = None) -> None:
    ctx.send_to_all(Roles.web, user, "told", data, session=session, instance=instance)


@pushing.command(isolation="async")
async def tell_awaiting(user: str, ctx: Context) -> None:
    await ctx.asend_to_all(Roles.web, user, "told", "awaited")
    await ctx.anotify_now(user, "awaited", title="T", level="warning", data={"n": 1})


@pushing.command(isolation="thread")
def tell_threaded(user: str, ctx: Context) -> None:
    ctx.send_to_all("web", user, "told", "threaded", pulse=True)


@pushing.command
def notify(ctx: Context) -> None:
    """To whom the job belongs."""
    ctx.notify_now(ctx.user or "", "it is done")


@pushing.command
def misaddressed(ctx: Context) -> None:
    ctx.send_to_all(Roles.web, "u7", "told", None, instance="i1")


@pushing.command
def long(gate: str, ctx: Context) -> str:
    ctx.stream.write("one")
    hold(gate)
    ctx.stream.write("two")
    return "done"


@pushing.command(callers=("script",))
def for_scripts() -> str:
    return "script"


@pushing.command(callers=WEB_ONLY)
def for_browsers() -> str:
    return "web"
