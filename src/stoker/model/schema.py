"""Types of a handler: read once from its signature, used to check input and to write output.

A handler takes either one *record* (a msgspec struct, a dataclass or a pydantic model) or plain typed parameters, and
perhaps a :class:`~stoker.run.context.Context` anywhere among them. Input and output travel as JSON. msgspec reads what
it knows; pydantic reads its own models and what only it knows. Pydantic is imported only when a type needs it: it makes
every fork of an application that does not use it a third slower (measured: 0.75 ms).
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
import zlib
from collections.abc import Callable, Mapping
from os import PathLike, fspath
from typing import Any, Protocol

import msgspec

from stoker.model.errors import InvalidInput, StokerError

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


class MsgspecCodec:
    """What msgspec can describe: structs, dataclasses, typed dicts, plain values and collections of them."""

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind, dec_hook=_read_own)
        # a decoder takes a class it does not know on trust; only the schema tells that it cannot be read
        self._schema = msgspec.json.schema(kind, schema_hook=_own_schema)

    def decode(self, data: bytes) -> Any:
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(readable(str(error))) from None
        except RecursionError:
            raise InvalidInput("the value is nested too deep") from None

    def encode(self, value: Any) -> bytes:
        data = JsonCodec().encode(value)
        self.decode(data)
        return data

    def schema(self) -> dict[str, Any]:
        return self._schema


class JsonCodec:
    """Whatever JSON can say; for handlers that do not declare what they return."""

    def decode(self, data: bytes) -> Any:
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"not JSON: {error}") from None
        except RecursionError:
            raise InvalidInput("the value is nested too deep") from None

    def encode(self, value: Any) -> bytes:
        try:
            return msgspec.json.encode(value, enc_hook=_any_model)
        except StokerError:
            raise  # a type of ours that says what is the matter
        except (TypeError, ValueError, OverflowError, NotImplementedError, RecursionError) as error:
            raise InvalidInput(f"the value cannot be written as JSON: {error}") from None

    def schema(self) -> dict[str, Any]:
        return {}


def _read_own(kind: Any, value: Any) -> Any:
    """Types of ours say themselves how they are read: a Buffer is what came beside the message."""
    return kind.__stoker_read__(value)


def _own_schema(kind: Any) -> dict[str, Any]:
    describe = getattr(kind, "__stoker_schema__", None)
    if describe is None:
        raise NotImplementedError
    found: dict[str, Any] = describe()
    return found


def _any_model(value: Any) -> Any:
    write = getattr(value, "__stoker_write__", None)
    if write is not None:
        return write()
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    if isinstance(value, PathLike):
        return fspath(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def readable(message: str) -> str:
    """msgspec's ``Expected `int`, got `str` - at `$.size``` as ``size: Expected `int`, got `str```."""
    what, found, place = message.partition(" - at `$")
    return f"{place.strip('.`')}: {what}" if found and place.strip(".`") else what


def codec(kind: Any) -> Codec:
    """The codec for an annotation. Raises TypeError for a type that nothing can read from JSON."""
    if kind in (inspect.Parameter.empty, Any, None):
        return JsonCodec()
    if not _is_model(kind):
        try:
            return MsgspecCodec(kind)
        except TypeError:
            pass  # not one of msgspec's types; pydantic may know it
    from stoker.model.pydantic_codec import PydanticCodec

    return PydanticCodec(kind)


def _is_model(kind: Any) -> bool:
    """Whether this is a pydantic model; nothing can be one while pydantic is not loaded."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def is_record(kind: Any) -> bool:
    """Whether one parameter of this type stands for the whole input."""
    return isinstance(kind, type) and (
        issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind) or _is_model(kind)
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
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                raise TypeError(f"the parameter {parameter.name!r} is positional only; arguments are given by name")
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
        # not hashlib: it loads OpenSSL, which every fork would pay for
        text = msgspec.json.encode(self.schema(), order="sorted")
        return f"{zlib.crc32(text):08x}{zlib.crc32(text[::-1]):08x}"


def _hints(handler: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(handler, include_extras=True)
    except NameError as error:
        raise TypeError(f"cannot resolve the annotation: {error}") from None


def _fields(handler: Callable[..., Any], taken: dict[str, Any]) -> Codec:
    """The codec of plain parameters: a record made of them, that knows no other field."""
    for name in taken:
        if name.startswith("_"):
            raise TypeError(f"the parameter {name!r} may not begin with an underscore")
    title = str(getattr(handler, "__name__", "Input"))
    fields = [
        (name, kind) if default is ... else (name, kind, _default(default)) for name, (kind, default) in taken.items()
    ]
    try:
        return MsgspecCodec(msgspec.defstruct(title, fields, forbid_unknown_fields=True, kw_only=True))
    except TypeError:
        from stoker.model.pydantic_codec import fields_codec

        return fields_codec(title, taken)


def _default(value: Any) -> Any:
    """A mutable default is made anew for each call, as nobody expects it to be shared."""
    if isinstance(value, list | dict | set):
        return msgspec.field(default_factory=lambda: type(value)(value))
    return value
