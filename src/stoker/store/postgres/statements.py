"""The named statements, written for the schema that a store's address names."""

from __future__ import annotations

import functools
import re

from stoker.store import statements
from stoker.store.postgres.url import DEFAULT_SCHEMA

_SCHEMA = re.compile(r"\bstoker\.(?=[\w%])|\bSCHEMA stoker\b|'stoker\.'|'stoker_'")


def templated(text: str, schema: str) -> str:
    """SQL as it stands in the files, for another schema: its names, its channels and its locks."""
    if schema == DEFAULT_SCHEMA:
        return text
    words = {"stoker.": f'"{schema}".', "SCHEMA stoker": f'SCHEMA "{schema}"', "'stoker.'": f"'\"{schema}\".'"}
    return _SCHEMA.sub(lambda found: words.get(found[0], f"'{schema}_'"), text)


@functools.cache
def named(schema: str) -> dict[str, str]:
    """All named statements for a schema."""
    return {name: templated(text, schema) for name, text in statements.load("postgres").items()}


@functools.cache
def migrations(schema: str) -> list[tuple[int, str]]:
    """The numbered migrations for a schema."""
    return [(number, templated(text, schema)) for number, text in statements.migrations("postgres")]
