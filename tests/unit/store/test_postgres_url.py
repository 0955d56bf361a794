"""The address of a PostgreSQL store: what is ours is taken out, and the password is never shown."""

from __future__ import annotations

import asyncpg
import pytest

from stoker.model.addresses import without_password
from stoker.model.clock import FakeClock
from stoker.model.errors import SettingsError, StoreBusy, StoreFull, StoreReadOnly, StoreUnavailable
from stoker.store.postgres.clock import ServerClock
from stoker.store.postgres.errors import Trouble, translated, trouble
from stoker.store.postgres.url import parse


def test_what_is_ours_is_taken_out_and_the_rest_goes_through() -> None:
    found = parse(
        "postgres://u:p%40w@h1:5432,h2/db?schema=mine&pooler=transaction&direct=h1:5433&sslmode=require"
        "&connect_timeout=2&application_name=app&keepalives_idle=3"
    )
    assert found.dsn == "postgresql://u:p%40w@h1:5432,h2/db?sslmode=require"
    assert (found.schema, found.pooled, found.direct, found.hosts) == ("mine", True, "h1:5433", 2)
    assert (found.connect_timeout, found.name) == (2.0, "app")
    assert found.directly().dsn == "postgresql://u:p%40w@h1:5433/db?sslmode=require"
    assert not found.directly().pooled


@pytest.mark.parametrize("place", ["[::1]", "[::1]:5432", "h1:1,[::1]:65535,h3", "%2Ftmp%2Fpg:5432", "h:", ""])
def test_hosts_and_ports(place: str) -> None:
    assert parse(f"postgresql://u@{place}/db").dsn == f"postgresql://u@{place}/db"


def test_the_defaults() -> None:
    found = parse("postgresql:///db")
    assert found.dsn == "postgresql:///db"
    assert (found.schema, found.pooled, found.hosts, found.listens, found.options()) == ("stoker", False, 1, True, {})


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", {"target_session_attrs": "read-write"}), ("?target_session_attrs=any", {})],
)
def test_several_hosts_mean_the_one_that_takes_writes(query: str, expected: dict[str, str]) -> None:
    assert parse(f"postgresql://h1,h2/db{query}").options() == expected
    assert parse(f"postgresql:///db?host=h1,h2{query.replace('?', '&')}").options() == expected


def test_a_transaction_pooler_alone_cannot_listen() -> None:
    assert not parse("postgresql://h/db?pooler=transaction").listens
    assert parse("postgresql://h/db?pooler=session").listens
    assert parse("postgresql://h/db?pooler=transaction&direct=h:5432").listens


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/db",
        "postgresql://h/db?schema=Bad-Name",
        "postgresql://h/db?schema=",
        "postgresql://h/db?pooler=statement",
        "postgresql://h/db?direct=h",
        "postgresql://h/db?connect_timeout=never",
        "postgresql://h/db?connect_timeout=0",
        "postgresql://u:s3cret@[h/db",
        "postgresql://u:s3cret#@h/db",
        "postgresql://u:s3cret/@h/db",
        "postgresql://u:s3cret?@h/db",
        "postgresql://u:s3cret@h:port/db",
        "postgresql://u:s3cret@h1,h2:65536/db",
        "postgresql://u:s3cret@::1/db",
    ],
)
def test_what_makes_no_sense_is_refused_without_a_password(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:s3cret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u@h/db?sslmode=require", "postgresql://u@h/db?sslmode=require"),
        ("postgresql://u:s3cret@h1,h2:5/db?schema=x", "postgresql://u:***@h1,h2:5/db?schema=x"),
        ("postgresql:///db?user=u&password=s3cret", "postgresql:///db?user=u&password=***"),
        ("postgresql://u:s3@cret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:s3cret@[h/db", "postgresql://…"),
        ("postgresql://u:s3c#ret@h/db", "postgresql://…"),
        ("postgresql://u:s3cret/x@h/db", "postgresql://…"),
        ("postgresql://u:s3cret?x@h/db", "postgresql://…"),
        ("postgresql://u:s3cret?x=y@h/db", "postgresql://…"),
        ("postgresql://u:/s3cret@h/db", "postgresql://…"),
        ("postgresql://u:123/s3cret@h/db", "postgresql://…"),
        ("postgresql://u:123?s3cret=1@h/db", "postgresql://…"),
        ("postgresql://u:s3@cr/et@h/db", "postgresql://…"),
        ("postgresql://u:s3cret@h:pass/db", "postgresql://…"),
        ("postgresql://u:s3cret@h1,h:pass/db", "postgresql://…"),
        ("postgresql://u:s3c\\ret/x", "postgresql://…"),
        ("postgresql://u:s3cret@[::1]:5432/db", "postgresql://u:***@[::1]:5432/db"),
        ("postgresql://u:s3cret@%2Frun%2Fpg/db", "postgresql://u:***@%2Frun%2Fpg/db"),
        ("postgresql://u:s3%2Fcret@db-1.example:5432/db", "postgresql://u:***@db-1.example:5432/db"),
    ],
)
def test_a_password_is_never_shown(url: str, expected: str) -> None:
    assert without_password(url) == expected


@pytest.mark.parametrize(
    ("code", "kind", "error"),
    [
        ("57P01", Trouble.LOST, StoreUnavailable),
        ("57P03", Trouble.LOST, StoreUnavailable),
        ("53300", Trouble.LOST, StoreUnavailable),
        ("25006", Trouble.LOST, StoreReadOnly),
        ("53100", Trouble.REFUSED, StoreFull),
        ("55P03", Trouble.REFUSED, StoreBusy),
        ("40P01", Trouble.AGAIN, StoreBusy),
        ("28P01", Trouble.REFUSED, StoreUnavailable),
    ],
)
def test_the_servers_codes_become_our_errors(code: str, kind: Trouble, error: type[Exception]) -> None:
    raised = asyncpg.PostgresError.new({"C": code, "M": "it said so"})
    assert trouble(raised) is kind
    ours = translated(raised, parse("postgresql://u:s3cret@h/db"))
    assert type(ours) is error
    assert "u:***@h" in ours.message


def test_the_servers_clock_goes_on_while_the_wall_clock_jumps() -> None:
    local = FakeClock(1000.0)
    clock = ServerClock(local)
    assert clock.now() == 1000.0
    asked = clock.mono()
    local.advance(2.0)
    clock.heard(asked, 5000.0)
    assert clock.now() == 5001.0, "the answer was made half way"
    local.jump(3600.0)
    local.advance(10.0)
    assert clock.now() == 5011.0
