"""Submitting inside the application's own PostgreSQL transaction: the job is there if, and only if, it commits.

    with session.begin():
        session.add(order)
        send_receipt.submit_in(session, order.id)

The daemon is not asked: the connection calls the SQL function ``stoker.submit`` in the database that is the store. Any
of these is a connection: a psycopg or psycopg2 connection, Django's, an SQLAlchemy session or connection; and for the
awaitable form an asyncpg or psycopg connection, or SQLAlchemy's asynchronous ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import msgspec

from stoker.model import packing
from stoker.model.command import Command
from stoker.model.errors import DuplicateJob, IdConflict, RequestError, StokerError
from stoker.model.job import Submission
from stoker.model.request import Request, resolve
from stoker.model.unique import unique_key

# every value is text or a number, cast here, so that each driver sends it without knowing the types
_SQL = """\
SELECT {schema}.submit(
  command => CAST({command} AS text), input => CAST({input} AS jsonb), id => CAST({id} AS text),
  priority => CAST({priority} AS integer), delay => make_interval(secs => CAST({delay} AS float8)),
  run_at => to_timestamp(CAST({at} AS float8)), expires => make_interval(secs => CAST({expires} AS float8)),
  "user" => CAST({user} AS text), tags => ARRAY(SELECT jsonb_array_elements_text(CAST({tags} AS jsonb))),
  key => CAST({key} AS text), key_limit => CAST({key_limit} AS integer), unique_key => CAST({unique} AS text),
  unique_window => make_interval(secs => CAST({window} AS float8)), on_duplicate => CAST({on_duplicate} AS text),
  timeout => make_interval(secs => CAST({timeout} AS float8)), retries => CAST({retries} AS integer),
  memory => CAST({memory} AS bigint))"""

_REFUSALS: dict[str, type[RequestError]] = {"SK001": IdConflict, "SK002": DuplicateJob, "SK003": RequestError}
_NO_VALUE = "22"
"""How SQLSTATEs of values begin that PostgreSQL cannot hold: ``\\u0000`` in JSON, a time beyond all calendars."""


def submit_in(
    connection: Any, command: Command[..., Any] | str, /, *args: Any, schema: str = "stoker", **kwargs: Any
) -> str:
    """Store a job in the transaction that ``connection`` is in; its id. Nothing is left of it after a rollback.

    ``schema`` is the store's, if it is not the usual one. Raises what a submission raises (``InvalidInput``,
    ``DuplicateJob``, …), and the driver's own error when the function is not there or may not be called.
    """
    values = _values(command, args, kwargs)
    try:
        if _is_sqlalchemy(connection):
            sql, named = _marked(schema, values, ":{}")
            return str(connection.execute(importlib.import_module("sqlalchemy").text(sql), named).scalar_one())
        sql, named = _marked(schema, values, "%({})s")
        cursor = connection.cursor()
        try:
            cursor.execute(sql, named)
            return _only(cursor.fetchone())
        finally:
            cursor.close()
    except Exception as error:
        raise _translated(error) from error


async def asubmit_in(
    connection: Any, command: Command[..., Any] | str, /, *args: Any, schema: str = "stoker", **kwargs: Any
) -> str:
    """The same for connections that are awaited."""
    values = _values(command, args, kwargs)
    try:
        if hasattr(connection, "fetchval"):
            names = list(values)
            sql = _SQL.format(schema=_quoted(schema), **{name: f"${names.index(name) + 1}" for name in names})
            return str(await connection.fetchval(sql, *values.values()))
        if _is_sqlalchemy(connection):
            sql, named = _marked(schema, values, ":{}")
            return str((await connection.execute(importlib.import_module("sqlalchemy").text(sql), named)).scalar_one())
        sql, named = _marked(schema, values, "%({})s")
        async with connection.cursor() as cursor:
            await cursor.execute(sql, named)
            return _only(await cursor.fetchone())
    except Exception as error:
        raise _translated(error) from error


def _values(command: Command[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the SQL function, by the names in the template; checked before anything is sent."""
    spec, parameters = (command.spec, command.signature.parameters) if isinstance(command, Command) else (None, ())
    inputs, options = packing.split_options(parameters, kwargs)
    request: Request = packing.pack(command, args, inputs, options)
    new: Submission = resolve(request, spec, 0.0)
    unique = unique_key(new)
    return {
        "command": new.command,
        "input": new.input.decode(),
        "id": new.id,
        "priority": new.priority,
        "delay": request.delay,
        "at": request.at,
        "expires": new.expires,
        "user": new.user,
        "tags": msgspec.json.encode(new.tags).decode(),
        "key": None if new.key is None else new.key.removeprefix(f"{new.command}:"),
        "key_limit": new.key_limit,
        "unique": None if unique is None else unique.removeprefix(new.command).removeprefix(":"),
        "window": new.unique.window if new.unique else None,
        "on_duplicate": str(new.unique.on_duplicate) if new.unique else "existing",
        "timeout": new.overrides.timeout,
        "retries": new.overrides.retries,
        "memory": new.overrides.memory,
    }


def _marked(schema: str, values: dict[str, Any], mark: str) -> tuple[str, dict[str, Any]]:
    """The statement with a driver's marks for named values."""
    return _SQL.format(schema=_quoted(schema), **{name: mark.format(name) for name in values}), values


def _quoted(schema: str) -> str:
    return '"' + schema.replace('"', '""') + '"'


def _is_sqlalchemy(connection: Any) -> bool:
    return any(kind.__module__.startswith("sqlalchemy.") for kind in type(connection).__mro__)


def _only(row: Any) -> str:
    """The one value of a row, whatever kind of rows the connection makes."""
    return str(next(iter(row.values())) if isinstance(row, Mapping) else row[0])


def _translated(error: Exception) -> Exception:
    """A refusal of the function as the error that any other submission would raise."""
    if isinstance(error, StokerError):
        return error
    origin: Any = getattr(error, "orig", None) or error
    for found in (origin, getattr(origin, "__cause__", None)):
        code = getattr(found, "sqlstate", None) or getattr(found, "pgcode", None)
        if code in _REFUSALS:
            return _REFUSALS[code](_said(found))
        if str(code).startswith(_NO_VALUE):
            return RequestError(f"this cannot be stored: {_said(found)}")
    return error


def _said(error: Any) -> str:
    """What the server said, without what drivers put behind it."""
    diagnosis = getattr(error, "diag", None)
    return str(error if diagnosis is None else diagnosis.message_primary)
