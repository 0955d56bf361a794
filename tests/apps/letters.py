"""Letters that must rather not be sent than sent twice, by a worker that stays."""

from __future__ import annotations

from stoker import Context, Product
from tests.apps.kit import enter, hold

letters = Product("letters", isolation="process", workers=1)


@letters.command(once=True)
def send(number: int, ctx: Context) -> None:
    enter(ctx.job, ctx.attempt, "begin")
    if number == 200:
        hold("letters")
