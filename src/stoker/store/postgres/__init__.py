"""The store on a PostgreSQL server that many daemons share."""

from stoker.store.postgres.store import PostgresStore
from stoker.store.postgres.url import shown

__all__ = ["PostgresStore", "shown"]
