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
    "command",
]


def __getattr__(name: str) -> Any:
    """The asyncio client, when it is asked for: an application that does not use it forks faster without asyncio."""
    if name in ("AsyncClient", "AsyncJobHandle"):
        from stoker.client import aio

        return getattr(aio, name)
    raise AttributeError(f"module 'stoker' has no attribute {name!r}")
