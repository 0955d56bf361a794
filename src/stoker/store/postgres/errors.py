"""The driver's errors, told apart by what is to be done, and turned into ours. Passwords never appear in them."""

from __future__ import annotations

from enum import Enum

import asyncpg

from stoker.model.errors import (
    RequestError,
    StokerError,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreNotOurs,
    StoreReadOnly,
    StoreUnavailable,
)
from stoker.store.postgres.url import Address


class Trouble(Enum):
    LOST = "lost"
    """The connection is gone, or of no use any more: another one is needed. What was under way may have been done."""
    AGAIN = "again"
    """Nothing was done, and nobody is to blame: the same once more may go well."""
    BAD = "bad"
    """A value that cannot be stored."""
    REFUSED = "refused"
    """The server says no, and will say so again until somebody does something about it."""


_LOST_CODES = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "25006", "53300", "26000")
_AGAIN_CODES = ("40001", "40P01")
_BAD_CODES = ("22", "23", "54", "21")
_PARAMETER = ("42704", "22023")
"""A setting in the address that the server does not know, or a value of one that it does not take."""


def trouble(error: BaseException) -> Trouble:
    """What is to be done about an error of the driver."""
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        if isinstance(error, asyncpg.InvalidCachedStatementError) or code.startswith(_AGAIN_CODES):
            return Trouble.AGAIN
        if code.startswith(_LOST_CODES) or isinstance(error, asyncpg.PostgresConnectionError):
            return Trouble.LOST
        return Trouble.BAD if code.startswith(_BAD_CODES) else Trouble.REFUSED
    if isinstance(error, asyncpg.DataError | UnicodeError | OverflowError | TypeError):
        return Trouble.BAD
    if isinstance(error, asyncpg.ClientConfigurationError):
        return Trouble.REFUSED
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError | EOFError):
        return Trouble.LOST
    return Trouble.REFUSED


def translated(error: BaseException, address: Address) -> StokerError:
    """Our error for the driver's, with one sentence that says what to do."""
    where = address.text
    if isinstance(error, StokerError):
        return error
    code = error.sqlstate or "" if isinstance(error, asyncpg.PostgresError) else ""
    if isinstance(error, asyncpg.ClientConfigurationError) or (code in _PARAMETER and "parameter" in _said(error)):
        return StoreUnavailable(f"{where}: this is wrong in the address: {_said(error)}")
    if trouble(error) is Trouble.BAD:
        return RequestError(f"this cannot be stored: {_said(error)}")
    if code == "25006":
        return StoreReadOnly(f"{where} is a standby or read-only; name the primary, or all hosts of the cluster")
    if code in ("53100", "53200"):
        return StoreFull(f"{where}: the server has no space left ({_said(error)}); free some, then try again")
    if code in ("55P03", "57014", "25P04", "40P01", "40001"):
        return StoreBusy(f"{where}: another session held a lock, or the server is slow ({_said(error)}); try again")
    if code.startswith("28"):
        return StoreUnavailable(f"{where}: the server refuses this user or password; check both")
    if code == "3D000":
        return StoreUnavailable(f"{where}: there is no such database; make it with `createdb`")
    if code == "42501":
        # a day's table is made and dropped by an owner only, whatever is granted
        way = "connect as their owner" if "must be owner" in _said(error) else "grant it"
        return StoreUnavailable(f"{where}: this user may not do that ({_said(error)}); {way}")
    if code in ("42P01", "42883", "3F000", "42703", "42P13"):
        return StoreNotOurs(f"{where}: the tables are not those of this version ({_said(error)}); run `stoker migrate`")
    if trouble(error) is Trouble.LOST:
        return StoreUnavailable(f"{where} does not answer ({_said(error)}); is the server up, and the address right?")
    return StoreError(f"{where}: {type(error).__name__}: {_said(error)}")


def _said(error: BaseException) -> str:
    """The first line of what the driver says; asyncpg puts no address with a password into it."""
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
