"""Stoker: background work for Python applications.

    from stoker import Context, Product

    notebook = Product("notebook")

    @notebook.command(timeout=300, retries=3, memory="1GB")
    def process_source(path: str, ctx: Context) -> int:
        ctx.progress(10, "reading")
        ...

Run ``stoker up module:notebook`` and, from anywhere, ``process_source.submit("report.pdf")``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from stoker._version import __version__
from stoker.client import inline
from stoker.client.product import Product, command
from stoker.client.sync import Client, JobHandle
from stoker.model.audience import Roles
from stoker.model.command import Backoff
from stoker.model.errors import InvalidInput, JobCancelled, JobFailed, StokerError
from stoker.model.interrupt import Cancel, CancelRequested, Retry, Snooze, TimeLimitExceeded
from stoker.model.job import Priority, Unique
from stoker.run.context import Context

if TYPE_CHECKING:
    from stoker.client.aio import AsyncClient, AsyncJobHandle
    from stoker.client.dispatch import Dispatcher, dispatch, dispatch_to_worker, has_worker
    from stoker.client.errand import Dispatched
    from stoker.client.roles import get_worker_name, is_primary_worker
    from stoker.client.transaction import asubmit_in, submit_in
    from stoker.wire.buffer import Buffer

__all__ = [
    "AsyncClient",
    "AsyncJobHandle",
    "Backoff",
    "Buffer",
    "Cancel",
    "CancelRequested",
    "Client",
    "Context",
    "Dispatched",
    "Dispatcher",
    "InvalidInput",
    "JobCancelled",
    "JobFailed",
    "JobHandle",
    "Priority",
    "Product",
    "Retry",
    "Roles",
    "Snooze",
    "StokerError",
    "TimeLimitExceeded",
    "Unique",
    "__version__",
    "asubmit_in",
    "command",
    "dispatch",
    "dispatch_to_worker",
    "get_worker_name",
    "has_worker",
    "is_primary_worker",
    "submit_in",
]


_LATE = {
    "AsyncClient": "stoker.client.aio",
    "AsyncJobHandle": "stoker.client.aio",
    "Buffer": "stoker.wire.buffer",
    "Dispatched": "stoker.client.errand",
    "Dispatcher": "stoker.client.dispatch",
    "asubmit_in": "stoker.client.transaction",
    "dispatch": "stoker.client.dispatch",
    "dispatch_to_worker": "stoker.client.dispatch",
    "get_worker_name": "stoker.client.roles",
    "has_worker": "stoker.client.dispatch",
    "is_primary_worker": "stoker.client.roles",
    "submit_in": "stoker.client.transaction",
}


def __getattr__(name: str) -> Any:
    """What not every application uses, when it is asked for: one that does not forks faster without it."""
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'stoker' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})


def _run_inline(*args: Any) -> Any:
    from stoker.run import dispatched  # not at the top: only a dispatch without a worker needs it

    return dispatched.perform(*args)


inline.use(_run_inline)
