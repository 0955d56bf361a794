"""The embedded store: one file, one writing process, no server."""

from stoker.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
