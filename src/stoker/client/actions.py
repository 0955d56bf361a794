"""The class form of a product: ``handle_job(action, msg)``, each action a command.

    class ImagesProduct(Product):
        def handle_job(self, action, msg):
            if action == "resize":
                return self.resized(msg["path"])
            return super().handle_job(action, msg)

A job's command has to be known before the job is stored, so the actions are read from the method's source: whatever it
compares ``action`` with. Where it does not compare them itself, the class says ``actions = ("resize",)``.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import msgspec

from stoker.model.command import Command
from stoker.model.definition import define
from stoker.model.errors import AppError
from stoker.model.schema import JsonCodec, MsgspecCodec, Signature

C = TypeVar("C", bound=Command[Any, Any])
MESSAGE = "_msg"
"""The parameter that stands for the whole input; no field of one is called so."""


def product_name(kind: type) -> str:
    """The name of a product that its class says: ``ImagesProduct`` is ``images``. Raises :class:`AppError`."""
    word = kind.__name__.removesuffix("Product")
    if not word or kind.__module__ == "stoker.client.product":
        raise AppError("a product needs a name: Product('images'), or a class like ImagesProduct(Product)")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word).lower()


def known(kind: Any) -> tuple[str, ...]:
    """The actions of a class: those it lists, and those that its ``handle_job`` compares with."""
    found = dict.fromkeys(kind.actions)
    for base in kind.__mro__:
        method = vars(base).get("handle_job")
        if method is None or base.__module__ == "stoker.client.product":
            continue
        found.update(dict.fromkeys(_compared(method)))
    return tuple(found)


def _compared(method: Any) -> Iterator[str]:
    """The texts that a method compares its first argument with, by ``==``, ``in`` or ``match``."""
    import ast  # few applications use the class form, and every fork would pay for it

    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, SyntaxError):
        return
    name = list(inspect.signature(method).parameters)[1]

    def texts(node: Any) -> Iterator[str]:
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and node.left.id == name:
            for operator, other in zip(node.ops, node.comparators, strict=True):
                if isinstance(operator, ast.Eq | ast.In):
                    yield from texts(other)
        elif isinstance(node, ast.Match) and isinstance(node.subject, ast.Name) and node.subject.id == name:
            for case in node.cases:
                yield from texts(case.pattern)


def command(kind: type[C], product: Any, action: str) -> C:
    """The command that carries out one action. Its input is any object, and reaches ``handle_job`` as ``msg``."""
    method = type(product).handle_job
    is_async = inspect.iscoroutinefunction(method)

    def plain(_msg: dict[str, Any], ctx: Any) -> Any:
        return product.handle_job(action, {"action": action, "jobId": ctx.job, **_msg})

    async def awaited(_msg: dict[str, Any], ctx: Any) -> Any:
        return await product.handle_job(action, {"action": action, "jobId": ctx.job, **_msg})

    handler: Any = awaited if is_async else plain
    handler.__module__, handler.__qualname__ = type(product).__module__, f"{type(product).__qualname__}.handle_job"
    handler.__doc__ = method.__doc__ if method.__doc__ else f"The action {action} of {type(product).__name__}."
    signature = Signature(MESSAGE, (MESSAGE,), "ctx", MsgspecCodec(dict[str, Any]), JsonCodec())
    spec, _, rules = define(product.name, _atyped if is_async else _typed, name=action)
    spec = msgspec.structs.replace(
        spec, doc=inspect.cleandoc(handler.__doc__), schema=signature.schema(), fingerprint=signature.fingerprint()
    )
    return kind(handler, spec, signature, rules)


def _typed() -> None: ...


async def _atyped() -> None: ...


def started(product: Any) -> Any:
    """The start hook of a class: ``start``, the product as the warm state, ``stop``."""
    if inspect.iscoroutinefunction(type(product).start) or inspect.iscoroutinefunction(type(product).stop):
        return _astarted(product)
    return _started(product)


def _started(product: Any) -> Iterator[Any]:
    product.start()
    yield product
    product.stop()


async def _astarted(product: Any) -> AsyncIterator[Any]:
    for step in (product.start, product.stop):
        made = step()
        if inspect.isawaitable(made):
            await made
        if step == product.start:
            yield product
