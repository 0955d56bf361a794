"""The store on a PostgreSQL server that many daemons share."""

from stoker.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
