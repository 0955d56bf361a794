"""Submitting commands and asking after them, by the daemon or, while none runs, straight from the store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
import pydantic

from stoker.client import default
from stoker.model import ids, packing
from stoker.model.errors import AlreadyRunning, DaemonUnavailable
from stoker.settings import Settings
from stoker.surreal_commands.register import products, takes_context
from stoker.surreal_commands.shapes import CONTEXT, CommandResult, CommandStatus
from stoker.wire.records import JobRecord, job_record

Input: TypeAlias = Mapping[str, Any] | pydantic.BaseModel

log = logging.getLogger("stoker.surreal_commands")
STARTING = 0.1
"""Seconds until a daemon is looked for again that holds the store but does not listen (it starts or stops)."""


async def submit_command_job(
    app_name: str | None = None,
    command_name: str | None = None,
    input_data: Input | None = None,
    context: Mapping[str, Any] | None = None,
    *,
    module_name: str | None = None,
    command_args: Input | None = None,
) -> str:
    """Store a command; its id, ``command:…``, usable at once. Raises InvalidInput naming the field, and UnknownCommand
    for what neither this process nor the daemon knows."""
    app = app_name or module_name
    if not app or not command_name:
        raise TypeError("submit_command_job() needs the name of the app and the name of the command")
    given = input_data if input_data is not None else command_args
    return await asyncio.to_thread(submit_command, app, command_name, given if given is not None else {}, context)


def submit_command(app: str, command: str, args: Input, context: Mapping[str, Any] | None = None) -> str:
    """The same for code that is not a coroutine. ``context`` reaches handlers whose input is a CommandInput; its
    ``user_id`` is on whose behalf the job runs."""
    name = f"{app}.{command}"
    known = products[app].commands.get(name) if app in products else None
    data = args.model_dump(mode="json") if isinstance(args, pydantic.BaseModel) else dict(args)
    if context and (known is None or takes_context(known)):
        data[CONTEXT] = {"user_context": dict(context)}
    user = (context or {}).get("user_id")
    options = {"user": None if user is None else str(user)}
    if known is None or known.signature.record is not None:
        request = packing.pack(known or name, (data,), {}, options)
    else:
        request = packing.pack(known, (), data, options)
    id = f"{ids.RECORD_PREFIX}{default.client().submit_request(known or name, request).id}"
    log.info("Queued command: %s → %s", name, id)
    return id


async def get_command_status(command_id: object) -> CommandResult:
    """How it stands with a command; read from the store while no daemon runs. Raises UnknownJob."""
    return await asyncio.to_thread(_look, command_id, 0.0)


def get_command_status_sync(command_id: object) -> CommandResult:
    """The same for code that is not a coroutine."""
    return _look(command_id, 0.0)


async def wait_for_command(
    command_id: object, timeout: float | None = None, poll_interval: float = 1.0
) -> CommandResult:
    """Wait until a command has ended. Raises TimeoutError after ``timeout`` seconds; the command goes on.

    Its end is told at once; ``poll_interval`` is how often it is asked whether anybody still is there to tell.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while not (found := await asyncio.to_thread(_look, command_id, _left(end, poll_interval))).is_complete():
        _check(command_id, end)
    return found


def wait_for_command_sync(
    command_id: object, timeout: float | None = None, poll_interval: float = 1.0
) -> CommandResult:
    """The same for code that is not a coroutine."""
    end = None if timeout is None else time.monotonic() + timeout
    while not (found := _look(command_id, _left(end, poll_interval))).is_complete():
        _check(command_id, end)
    return found


def execute_command_sync(
    app: str, command: str, args: Input, context: Mapping[str, Any] | None = None, timeout: float | None = None
) -> CommandResult:
    """Submit a command and wait for its end."""
    return wait_for_command_sync(submit_command(app, command, args, context), timeout)


def record(job: JobRecord | str) -> dict[str, Any]:
    """A command in the shape of the documents' record; what is not there yet is None. Times are ISO 8601 in UTC."""
    found = job if isinstance(job, JobRecord) else _read(job, 0.0)
    input = msgspec.json.decode(found.input)
    if isinstance(input, dict):
        input.pop(CONTEXT, None)
    return {
        "id": f"{ids.RECORD_PREFIX}{found.id}",
        "app": found.app,
        "command": found.command,
        "status": found.status,
        "input": input,
        "output": found.result(),
        "error": found.error,
        "created": found.created,
        "updated": found.updated,
        "completed_at": found.completed_at,
    }


def _left(end: float | None, poll_interval: float) -> float:
    return poll_interval if end is None else max(0.0, min(poll_interval, end - time.monotonic()))


def _check(command_id: object, end: float | None) -> None:
    if end is not None and time.monotonic() >= end:
        raise TimeoutError(f"{command_id} has not ended yet; it goes on")


def _look(command_id: object, seconds: float) -> CommandResult:
    found = _read(str(command_id), seconds)
    return CommandResult(
        command_id=f"{ids.RECORD_PREFIX}{found.id}",
        status=CommandStatus(found.status),
        result=found.result(),
        error_message=found.error,
        created=found.created,
        updated=found.updated,
        completed_at=found.completed_at,
    )


def _read(command_id: str, seconds: float) -> JobRecord:
    """The job when it has ended, or as it is after so many seconds."""
    client, id = default.client(), ids.job_id(command_id)
    while True:
        try:
            found: JobRecord = client.ask("wait", JobRecord, job=id, seconds=seconds)
        except DaemonUnavailable:
            path = client.settings.store_path
            if client.address.startswith("tcp://") or (path is not None and not path.exists()):
                raise
            try:
                found = _stored(client.settings, id)
            except AlreadyRunning:
                time.sleep(STARTING)
                continue
            if not found.ended:
                time.sleep(seconds)
        return found


def _stored(settings: Settings, id: str) -> JobRecord:
    """A job as it lies in the store that nobody works on. Raises AlreadyRunning when somebody does."""
    # not at the top: the zygote imports this module, and must never import the store
    from stoker.client import offline

    async def read() -> JobRecord:
        async with offline.opened(settings.store) as store:
            return job_record(await store.get(id), why="no daemon runs")

    with offline.held(settings.store_path):
        return offline.finish(read())
