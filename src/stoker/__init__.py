"""Stoker: background work for Python applications.

    from stoker import Context, Product

    notebook = Product("notebook")

    @notebook.command(timeout=300, retries=3, memory="1GB")
    def process_source(path: str, ctx: Context) -> int:
        ctx.progress(10, "reading")
        ...

Run ``stoker up module:notebook`` and, from anywhere, ``process_source.submit("report.pdf")``.
"""

from typing import TYPE_CHECKING, Any

from stoker._version import __version__
from stoker.client.product import Product, command
from stoker.client.sync import Client, JobHandle
from stoker.model.command import Backoff
from stoker.model.errors import InvalidInput, JobCancelled, JobFailed, StokerError
from stoker.model.interrupt import Cancel, CancelRequested, Retry, Snooze, TimeLimitExceeded
from stoker.model.job import Priority, Unique
from stoker.run.context import Context

if TYPE_CHECKING:
    from stoker.client.aio import AsyncClient, AsyncJobHandle
    from stoker.client.transaction import asubmit_in, submit_in

__all__ = [
    "AsyncClient",
    "AsyncJobHandle",
    "Backoff",
    "Cancel",
    "CancelRequested",
    "Client",
    "Context",
    "InvalidInput",
    "JobCancelled",
    "JobFailed",
    "JobHandle",
    "Priority",
    "Product",
    "Retry",
    "Snooze",
    "StokerError",
    "TimeLimitExceeded",
    "Unique",
    "__version__",
    "asubmit_in",
    "command",
    "submit_in",
]


def __getattr__(name: str) -> Any:
    """What not every application uses, when it is asked for: one that does not forks faster without it."""
    if name in ("AsyncClient", "AsyncJobHandle"):
        from stoker.client import aio

        return getattr(aio, name)
    if name in ("submit_in", "asubmit_in"):
        from stoker.client import transaction

        return getattr(transaction, name)
    raise AttributeError(f"module 'stoker' has no attribute {name!r}")
