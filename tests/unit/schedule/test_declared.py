"""``@product.cron``: schedules in the code, and every slip told when the module is imported."""

from __future__ import annotations

from typing import Any

import pytest

from stoker import Product
from stoker.model.errors import AppError
from stoker.model.schedule import Defaults, declared_by


def test_a_command_or_a_plain_function_is_declared_several_times() -> None:
    shop = Product("shop")

    @shop.cron("@daily", name="all", input={"full": True}, tz="America/Chicago")
    @shop.cron("*/5 * * * *")
    @shop.command(timeout="5m")
    def sync(full: bool = False) -> bool:
        return full

    @shop.cron("@hourly")
    def plain() -> None: ...

    assert sync(full=True) is True
    entries = [declared_by(sync.name, table, Defaults(tz="Europe/Berlin"), "code") for table in sync.spec.crons]
    assert [(one.name, one.schedule, one.tz, one.input) for one in entries] == [
        ("shop.sync", "*/5 * * * *", "Europe/Berlin", {}), ("all", "@daily", "America/Chicago", {"full": True}),
    ]  # fmt: skip
    assert shop.commands["shop.plain"] is plain
    assert shop.commands["shop.sync"].spec.crons == sync.spec.crons


@pytest.mark.parametrize(
    ("schedule", "options", "message"),
    [
        ("60 24 32 13 8", {}, "is not right for minute"),
        ("* * * * *", {"tz": "Mars"}, "is not a time zone"),
        ("* * * * *", {"inputs": {}}, "did you mean input"),
        ("* * * * *", {"input": {"fulll": 1}}, "fulll"),
        ("* * * * *", {"input": {"full": "maybe"}}, "full"),
        ("* * * * *", {"every_node": True}, "any node"),
        ("* * * * *", {"url": "/x"}, "exactly one of"),
    ],
)
def test_what_makes_no_sense_is_told_with_the_command(schedule: str, options: dict[str, Any], message: str) -> None:
    shop = Product("shop")
    with pytest.raises(AppError, match=rf"command shop\.sync: @cron: .*{message}"):

        @shop.cron(schedule, **options)
        def sync(full: bool = False) -> None: ...


def test_two_of_one_name_are_refused() -> None:
    shop = Product("shop")
    with pytest.raises(AppError, match=r"the name .shop\.sync. is there twice"):

        @shop.cron("@daily")
        @shop.cron("@hourly")
        def sync() -> None: ...
