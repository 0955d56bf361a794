"""Commands that schedules run: each says in a file which slot it was."""

from __future__ import annotations

from stoker import Context, Product
from tests.apps import kit

clock = Product("clock")


@clock.cron("* * * * * *", name="second", input={"word": "tick"}, catch_up="all", overlap="queue")
@clock.command
def note(ctx: Context, word: str = "") -> str:
    """One line for each run: the schedule and the slot."""
    tags = dict(tag.split(":", 1) for tag in ctx.tags if ":" in tag)
    kit.append("slots", f"{tags.get('schedule')} {tags.get('slot')} {word}")
    return word


@clock.command(wait=False)
def slow() -> None:
    """Runs until the test opens the door."""
    kit.hold("door")
