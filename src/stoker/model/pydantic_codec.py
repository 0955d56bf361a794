"""Types that pydantic reads: its models, and what only it knows. Imported when a handler needs it."""

from __future__ import annotations

import warnings
from typing import Any

import pydantic
from pydantic import TypeAdapter, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import PydanticSerializationError

from stoker.model.errors import InvalidInput

SHOWN = 5
"""Mistakes named in one message at most."""


class PydanticCodec:
    """Everything pydantic can describe. Raises TypeError for a type that it cannot."""

    def __init__(self, kind: Any) -> None:
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise TypeError(f"cannot use the type {kind!r}: {str(error).splitlines()[0]}") from None

    def decode(self, data: bytes) -> Any:
        try:
            return self._adapter.validate_json(data)
        except pydantic.ValidationError as error:
            raise InvalidInput(explain(error)) from None

    def encode(self, value: Any) -> bytes:
        try:
            return self._adapter.dump_json(self._adapter.validate_python(value))
        except pydantic.ValidationError as error:
            raise InvalidInput(explain(error)) from None
        except PydanticSerializationError as error:
            raise InvalidInput(f"the value cannot be written as JSON: {error}") from None

    def schema(self) -> dict[str, Any]:
        try:
            return self._adapter.json_schema()
        except PydanticUserError as error:
            raise TypeError(str(error).splitlines()[0]) from None


def fields_codec(title: str, fields: dict[str, Any]) -> PydanticCodec:
    """The codec of plain parameters, some of which only pydantic can read: name → (type, default)."""
    config = pydantic.ConfigDict(extra="forbid", protected_namespaces=())
    try:
        with warnings.catch_warnings():
            # a parameter may be called "json" or "copy": nobody calls these methods of the model
            warnings.filterwarnings("ignore", "Field name .* shadows an attribute", UserWarning)
            return PydanticCodec(create_model(title, __config__=config, **fields))
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise TypeError(str(error).splitlines()[0]) from None


def explain(error: pydantic.ValidationError) -> str:
    """A validation error in one line a person can act on: each field and what is wrong with it."""
    parts = []
    for item in error.errors(include_url=False, include_context=False, include_input=False)[:SHOWN]:
        place = ".".join(str(step) for step in item["loc"])
        parts.append(f"{place}: {item['msg']}" if place else item["msg"])
    more = error.error_count() - SHOWN
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")
