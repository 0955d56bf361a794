"""Every error Stoker raises, as one tree.

    StokerError
    ├── SettingsError              a setting or flag makes no sense
    ├── AppError                   the application cannot be loaded
    ├── RequestError               a request was refused; nothing was stored
    │   ├── UnknownCommand
    │   ├── UnknownMethod
    │   ├── UnknownJob
    │   ├── InvalidInput
    │   ├── PayloadTooLarge
    │   ├── DuplicateJob
    │   ├── IdConflict
    │   ├── WrongState
    │   ├── NotAllowed
    │   ├── ProtocolError
    │   └── InvalidBuffer
    ├── DaemonError
    │   ├── DaemonUnavailable      nobody listens on the socket
    │   ├── DaemonSilent           somebody listens and says nothing
    │   └── AlreadyRunning         a second daemon on the same store
    ├── StoreError
    │   ├── StoreUnavailable       cannot be opened
    │   ├── StoreNotOurs           a database of something else
    │   ├── StoreReadOnly
    │   ├── StoreBusy              another program holds the write lock
    │   └── StoreFull
    ├── JobError                   a job ended otherwise than well
    │   ├── JobFailed
    │   ├── JobCancelled
    │   └── WaitTimeout            the job goes on; only the waiting ended
    └── DispatchError              a dispatch ended otherwise than well
        ├── HandlerFailed          its handler raised; the message is that of the exception
        ├── NoWorker               nobody was there to take it
        ├── WorkerLost             the worker died over it
        │   └── NotBegun           … or before it began, so that it can simply be sent again
        ├── DispatchTimeout
        ├── BufferMoved            a Buffer was used after it was moved
        └── BufferClosed

The class docstring is the message when none is given, so each error is its own documentation. ``code`` names the
error on the wire; :func:`from_code` makes it again on the other side.
"""

from __future__ import annotations

from collections.abc import Iterator


class StokerError(Exception):
    """Something went wrong in Stoker."""

    code = "error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self.args[0])


class SettingsError(StokerError):
    """A setting makes no sense."""

    code = "settings"


class AppError(StokerError):
    """The application cannot be loaded."""

    code = "app"


class RequestError(StokerError):
    """The request was refused; nothing was stored."""

    code = "refused"


class UnknownCommand(RequestError):
    """No product registers this command."""

    code = "unknown_command"


class UnknownMethod(RequestError):
    """There is no such method."""

    code = "unknown_method"


class UnknownJob(RequestError):
    """There is no such job."""

    code = "unknown_job"


class InvalidInput(RequestError):
    """The input does not fit the command's type."""

    code = "invalid_input"


class PayloadTooLarge(RequestError):
    """The payload is larger or deeper than allowed."""

    code = "too_large"


class DuplicateJob(RequestError):
    """A job with this unique key is already there."""

    code = "duplicate"


class IdConflict(RequestError):
    """This job id was used before for something else."""

    code = "id_conflict"


class WrongState(RequestError):
    """The job is not in a state that allows this."""

    code = "wrong_state"


class NotAllowed(RequestError):
    """This client may not do that."""

    code = "not_allowed"


class ProtocolError(RequestError):
    """The message is not understood."""

    code = "protocol"


class InvalidBuffer(RequestError):
    """This is no buffer that could be moved."""

    code = "invalid_buffer"


class DaemonError(StokerError):
    """The daemon cannot be used."""

    code = "daemon"


class DaemonUnavailable(DaemonError):
    """No daemon answers; start one with `stoker up`."""

    code = "unavailable"


class DaemonSilent(DaemonError):
    """The daemon said nothing within the time-out."""

    code = "silent"


class AlreadyRunning(DaemonError):
    """Another daemon already works on this store."""

    code = "already_running"


class StoreError(StokerError):
    """The store cannot do this."""

    code = "store"


class StoreUnavailable(StoreError):
    """The store cannot be opened."""

    code = "store_unavailable"


class StoreNotOurs(StoreError):
    """This database belongs to another program."""

    code = "store_not_ours"


class StoreReadOnly(StoreError):
    """The store can be read and not written."""

    code = "store_read_only"


class StoreBusy(StoreError):
    """Another program holds the store's write lock."""

    code = "store_busy"


class StoreFull(StoreError):
    """The disk under the store is full."""

    code = "store_full"


class JobError(StokerError):
    """The job did not end well."""

    code = "job"


class JobFailed(JobError):
    """The job failed."""

    code = "job_failed"


class JobCancelled(JobError):
    """The job was cancelled."""

    code = "job_cancelled"


class WaitTimeout(JobError):
    """The job has not ended yet; it goes on."""

    code = "wait_timeout"


class DispatchError(StokerError):
    """The dispatch did not end well."""

    code = "dispatch"


class HandlerFailed(DispatchError):
    """The handler failed; its own message says why."""

    code = "handler_failed"
    kind = ""
    """The name of the exception's class."""


class NoWorker(DispatchError):
    """No worker of this product lives."""

    code = "no_worker"


class WorkerLost(DispatchError):
    """The worker died while it had the job."""

    code = "worker_lost"


class NotBegun(WorkerLost):
    """The worker ended, or had too much to do, before it began; it can be sent again."""

    code = "not_begun"


class DispatchTimeout(DispatchError):
    """The dispatch took longer than its time limit."""

    code = "dispatch_timeout"


class BufferMoved(DispatchError, ValueError):
    """The Buffer was moved; it belongs to the worker now. Make another, or use what the dispatch returned."""

    code = "buffer_moved"


class BufferClosed(DispatchError, ValueError):
    """The Buffer was closed."""

    code = "buffer_closed"


def _tree(root: type[StokerError]) -> Iterator[type[StokerError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def from_code(code: str, message: str) -> StokerError:
    """The error that ``code`` names on the wire; a plain :class:`StokerError` for a code from a newer version."""
    for kind in _tree(StokerError):
        if kind.code == code:
            return kind(message)
    return StokerError(message)
