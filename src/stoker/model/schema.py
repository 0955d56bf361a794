"""Types of a handler: read once from its signature, used to check input and to write output.

A handler takes either one *record* (a pydantic model, a msgspec struct or a dataclass) or plain typed parameters, and
perhaps a :class:`~stoker.run.context.Context` anywhere among them. Input and output travel as JSON. Structs are read by
msgspec, everything else by pydantic, each by its own rules.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
import pydantic
from pydantic import TypeAdapter, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from stoker.model.errors import InvalidInput

CONTEXT_MARK = "__stoker_context__"
"""The attribute by which a parameter's type says that it wants the context, whatever module it lives in."""


class Codec(Protocol):
    """Reads and writes one type as JSON."""

    def decode(self, data: bytes) -> Any:
        """The value in ``data``. Raises :class:`InvalidInput` naming the field."""

    def encode(self, value: Any) -> bytes:
        """``value`` as JSON. Raises :class:`InvalidInput` when it is not of the type."""

    def schema(self) -> dict[str, Any]:
        """The type as a JSON Schema."""


class StructCodec:
    """msgspec structs."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)

    def decode(self, data: bytes) -> Any:
        try:
            return self._decoder.decode(data)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise InvalidInput(str(error)) from None
        except RecursionError:
            raise InvalidInput("the input is nested too deep") from None

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, self._kind):
            raise InvalidInput(f"expected {self._kind.__name__}, got {type(value).__name__}")
        return msgspec.json.encode(value)

    def schema(self) -> dict[str, Any]:
        return msgspec.json.schema(self._kind)


class PydanticCodec:
    """Everything pydantic can describe: models, dataclasses, typed dicts, unions, plain values."""

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

    def schema(self) -> dict[str, Any]:
        return self._adapter.json_schema()


class JsonCodec:
    """Whatever JSON can say; for handlers that do not declare what they return."""

    def decode(self, data: bytes) -> Any:
        return msgspec.json.decode(data)

    def encode(self, value: Any) -> bytes:
        try:
            return msgspec.json.encode(value, enc_hook=_any_model)
        except (TypeError, NotImplementedError, RecursionError) as error:
            raise InvalidInput(f"the value cannot be written as JSON: {error}") from None

    def schema(self) -> dict[str, Any]:
        return {}


def _any_model(value: Any) -> Any:
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")


def explain(error: pydantic.ValidationError) -> str:
    """A validation error in one line a person can act on: each field and what is wrong with it."""
    parts = []
    for item in error.errors(include_url=False, include_context=False, include_input=False)[:5]:
        place = ".".join(str(step) for step in item["loc"])
        parts.append(f"{place}: {item['msg']}" if place else item["msg"])
    more = error.error_count() - 5
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


def codec(kind: Any) -> Codec:
    """The codec for an annotation."""
    if kind in (inspect.Parameter.empty, Any, None):
        return JsonCodec()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return StructCodec(kind)
    return PydanticCodec(kind)


def is_record(kind: Any) -> bool:
    """Whether one parameter of this type stands for the whole input."""
    return isinstance(kind, type) and (
        issubclass(kind, msgspec.Struct | pydantic.BaseModel) or dataclasses.is_dataclass(kind)
    )


class Signature:
    """A handler's input and output types, and how to get from JSON to a call and back."""

    def __init__(
        self, record: str | None, parameters: tuple[str, ...], context: str | None, input: Codec, output: Codec
    ) -> None:
        self.record = record
        self.parameters = parameters
        self.context = context
        self.input = input
        self.output = output

    @classmethod
    def of(cls, handler: Callable[..., Any]) -> Signature:
        hints = _hints(handler)
        taken: dict[str, Any] = {}
        context = None
        for parameter in inspect.signature(handler).parameters.values():
            kind = hints.get(parameter.name, Any)
            if getattr(kind, CONTEXT_MARK, False):
                context = parameter.name
            elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise TypeError(f"*{parameter.name} cannot be typed; name the parameters")
            else:
                taken[parameter.name] = (kind, ... if parameter.default is parameter.empty else parameter.default)
        record = next(iter(taken)) if len(taken) == 1 else None
        if record is not None and not is_record(taken[record][0]):
            record = None
        input = codec(taken[record][0]) if record else _fields(handler, taken)
        return cls(record, tuple(taken), context, input, codec(hints.get("return", Any)))

    def arguments(self, data: bytes) -> dict[str, Any]:
        """The keyword arguments that the JSON input stands for. Raises :class:`InvalidInput`."""
        value = self.input.decode(data)
        if self.record is not None:
            return {self.record: value}
        return {name: getattr(value, name) for name in self.parameters}

    def pack(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The JSON input for a call written as Python would write it. Raises :class:`InvalidInput`."""
        names = (self.record,) if self.record else self.parameters
        if len(args) > len(names):
            raise InvalidInput(f"takes {len(names)} arguments, {len(args)} given")
        given = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in given:
                raise InvalidInput(f"{name}: given twice")
            given[name] = value
        if self.record is not None and self.record in given:
            if len(given) > 1:
                raise InvalidInput(f"give either {self.record} or its fields, not both")
            value = given[self.record]
            if isinstance(value, Mapping):
                return self._checked(value)
            return self.input.encode(value)
        return self._checked(given)

    def _checked(self, fields: Mapping[str, Any]) -> bytes:
        data = JsonCodec().encode(dict(fields))
        self.input.decode(data)
        return data

    def schema(self) -> dict[str, Any]:
        return self.input.schema()

    def fingerprint(self) -> str:
        """Equal for two processes that agree on the input type, so that input is not checked twice."""
        text = json.dumps(self.schema(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _hints(handler: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(handler, include_extras=True)
    except NameError as error:
        raise TypeError(f"cannot resolve the annotation: {error}") from None


def _fields(handler: Callable[..., Any], taken: dict[str, Any]) -> Codec:
    for name in taken:
        if name.startswith("_"):
            raise TypeError(f"the parameter {name!r} may not begin with an underscore")
    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=False, protected_namespaces=())
    try:
        model = create_model(getattr(handler, "__name__", "Input"), __config__=config, **taken)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise TypeError(str(error).splitlines()[0]) from None
    return PydanticCodec(model)
