"""Methods as JSON Schema, for documents that programs read."""

from __future__ import annotations

import functools
import inspect
import operator
import types
import typing
from collections.abc import Mapping
from typing import Any, Union

import msgspec

REFERENCE = "#/components/schemas/{name}"


class Described(msgspec.Struct, frozen=True):
    """One method: what it does, its parameters as JSON Schema, and the levels of people that the bridge may call it
    for."""

    doc: str
    params: dict[str, Any]
    levels: tuple[str, ...]


class Schemas(msgspec.Struct, frozen=True):
    """Methods by name; ``schemas`` are what their parameters refer to as ``#/components/schemas/NAME``."""

    methods: dict[str, Described]
    schemas: dict[str, Any]


def described(methods: Mapping[str, tuple[type[Any], Any, tuple[str, ...]]]) -> Schemas:
    """From the type of the parameters of each method, the function that carries it out, and the levels."""
    known: dict[type[Any], Any] = {}
    kinds = [_plain(params, known) for params, _, _ in methods.values()]
    found, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    told = {
        name: Described(inspect.cleandoc(run.__doc__ or ""), schema, levels)
        for (name, (_, run, levels)), schema in zip(methods.items(), found, strict=True)
    }
    return Schemas(told, components)


def _plain(kind: Any, known: dict[type[Any], Any]) -> Any:
    """The same type, with any JSON where it holds JSON that is passed on unread; of that no default is described."""
    if kind is msgspec.Raw:
        return Any
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind not in known:
            fields = [_field(field, known) for field in msgspec.structs.fields(kind)]
            known[kind] = msgspec.defstruct(
                kind.__name__, fields, kw_only=True, namespace={"__doc__": kind.__doc__},
                forbid_unknown_fields=kind.__struct_config__.forbid_unknown_fields,
            )  # fmt: skip
        return known[kind]
    origin, inner = typing.get_origin(kind), tuple(_plain(one, known) for one in typing.get_args(kind))
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, inner)
    return origin[inner] if origin in (list, tuple, dict) else kind


def _field(field: msgspec.structs.FieldInfo, known: dict[type[Any], Any]) -> tuple[str, Any, Any]:
    default: Any = msgspec.field(default_factory=field.default_factory)
    if field.default is not msgspec.NODEFAULT:
        raw = isinstance(field.default, msgspec.Raw)
        default = msgspec.json.decode(field.default) if raw else field.default
        if isinstance(default, dict | list):
            kind = type(default)
            default = msgspec.field(default_factory=kind)
    elif field.default_factory is msgspec.NODEFAULT:
        default = msgspec.field()
    return field.encode_name, _plain(field.type, known), default
