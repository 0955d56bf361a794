"""A product as an application writes it: commands are registered on it, and can be submitted from anywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from stoker import settings
from stoker.client import actions, default
from stoker.client.submittable import Submittable
from stoker.model import argv, hook
from stoker.model.command import Isolation
from stoker.model.definition import Options, check_options, define
from stoker.model.errors import UnknownCommand
from stoker.model.pool import PoolOptions, changed
from stoker.model.product import Catalog, no_action

P = ParamSpec("P")
R = TypeVar("R")


class Product(Catalog):
    """A named family of commands: ``images = Product("images")``.

    With ``isolation="process"`` (one job at a time in a worker), ``"thread"`` or ``"async"`` its commands run in
    workers of its own that stay: ``workers`` of them, up to ``max_workers`` when jobs wait, each for ``slots`` jobs.
    ``recycle_jobs``, ``recycle_age`` ("1h") and ``recycle_memory`` ("500MB") say when one is replaced; ``weight`` and
    ``reserved``, how large the product's share of the other slots is. All of it can be changed in ``products.json`` and
    ``stoker.toml``.

    Or as a class: one that has ``handle_job(self, action, msg)`` registers each action that this method knows as a
    command, and ``start(self)`` runs once in each worker. Its name is the first argument, or that of the class:
    ``ImagesProduct`` is ``images``.
    """

    actions: tuple[str, ...] = ()
    """For the class form: actions that cannot be read from ``handle_job``, because it does not compare them itself."""

    def __init__(self, name: str | None = None, **pool: Unpack[PoolOptions]) -> None:
        super().__init__(actions.product_name(type(self)) if name is None else name, **pool)
        if type(self).handle_job is not Product.handle_job:
            for action in actions.known(type(self)):
                self.add(actions.command(Submittable, self, action))

    def start(self) -> Any:
        """Make what stays warm, in the class form: runs once in each worker before its first job."""

    def stop(self) -> Any:
        """The counterpart of :meth:`start`: runs when a worker ends."""

    def handle_job(self, action: str, msg: dict[str, Any]) -> Any:
        """Carry out an action: the class form overrides this, and leaves to it what it does not know. ``msg`` is the
        input, with ``action`` and ``jobId`` in it. Raises :class:`~stoker.model.errors.UnknownCommand`."""
        raise UnknownCommand(no_action(self.name, action))

    def start_hook(self) -> Callable[[], Any] | None:
        """What :meth:`resident` was given, or :meth:`start` and :meth:`stop`."""
        written = type(self).start is not Product.start or type(self).stop is not Product.stop
        return functools.partial(actions.started, self) if written else super().start_hook()

    @property
    def routes_enabled(self) -> bool:
        """Whether an application is to serve this product's HTTP routes: its ``routes``, as the code, ``products.json``
        and ``stoker.toml`` of this project say; never for one that is disabled. Asked once, where routes are mounted:
        ``if images.routes_enabled: app.include_router(router)``. Raises :class:`~stoker.model.errors.SettingsError`."""
        told = settings.load({"root": str(default.client().settings.root)}).products
        spec = changed(self.pool, told.get(self.name, {}))
        return spec.enabled and spec.routes

    @overload
    def script(self, handler: Callable[P, R], /) -> Submittable[P, R]: ...

    @overload
    def script(self, name: str, words: Sequence[str], /, **options: Any) -> Submittable[..., list[str]]: ...

    @overload
    def script(self, /, **options: Any) -> Callable[[Callable[P, R]], Submittable[P, R]]: ...

    def script(self, name: Any = None, words: Any = None, /, **options: Any) -> Any:
        """Register a program as a command: ``product.script("thumbnail", ["convert", "{input.path}", "{input.out}"])``,
        or ``@product.script`` on a typed function that returns the list.

        There is no shell. A value stands for a whole argument, never for a part of one, and text that begins with ``-``
        is refused as one, since programs would take it for an option. Exit 0 is the result ``{"exit": 0}``, or with
        ``result="json"`` what the program printed; anything else fails the job. Other options are those of a command.
        """
        result = argv.checked_result(options.pop("result", "exit"))

        def register(function: Callable[P, R], own: str | None = None) -> Submittable[P, R]:
            own = options.pop("name", own)
            spec, signature, rules = define(self.name, function, name=own, **options, isolation=Isolation.SCRIPT)
            made = Submittable(function, *argv.as_script(spec, signature, result), rules)
            self.add(made)
            return made

        if callable(name):
            return register(name)
        return register if words is None else register(argv.template(name, words), name)

    def dispatch(self, action: str, /, *args: Any, **kwargs: Any) -> Any:
        """Have a live worker of this product carry out an action: ``images.dispatch("resize", buffer, width=640)``. See
        :meth:`Submittable.dispatch`."""
        from stoker.client import dispatch

        return dispatch.default_dispatcher().call(dispatch.own(self, action), *args, **kwargs)

    async def adispatch(self, action: str, /, *args: Any, **kwargs: Any) -> Any:
        """The same, awaitable."""
        from stoker.client import dispatch

        return await dispatch.default_dispatcher().acall(dispatch.own(self, action), *args, **kwargs)

    @overload
    def on_role_acquired(self, role: Callable[P, R], /) -> Submittable[P, R]: ...

    @overload
    def on_role_acquired(
        self, role: str | None = None, /, **options: Any
    ) -> Callable[[Callable[P, R]], Submittable[P, R]]: ...

    def on_role_acquired(self, role: Any = None, /, **options: Any) -> Any:
        """Register a hook for a new holder: ``@ops.on_role_acquired("billing")`` runs once for each term, on the node
        that holds the role; without a name, for every role, on any node.

        It may take ``role``, ``term``, ``node``, ``boot`` and ``event`` as its input, and all options of a command.
        """
        return self._hook_for(hook.ACQUIRED, role, options)

    @overload
    def on_role_lost(self, role: Callable[P, R], /) -> Submittable[P, R]: ...

    @overload
    def on_role_lost(
        self, role: str | None = None, /, **options: Any
    ) -> Callable[[Callable[P, R]], Submittable[P, R]]: ...

    def on_role_lost(self, role: Any = None, /, **options: Any) -> Any:
        """The same for a term that is over, however it ended; the input says whose it was. Runs on any node."""
        return self._hook_for(hook.LOST, role, options)

    @overload
    def on_node_dead(self, handler: Callable[P, R], /) -> Submittable[P, R]: ...

    @overload
    def on_node_dead(
        self, handler: None = None, /, **options: Any
    ) -> Callable[[Callable[P, R]], Submittable[P, R]]: ...

    def on_node_dead(self, handler: Any = None, /, **options: Any) -> Any:
        """Register a hook for a node that was silent for too long: once for each start of a daemon, on any node. It may
        take ``node``, ``boot``, ``host``, ``pid``, ``heartbeat`` (seconds since the epoch), ``roles`` and ``event``."""
        return self._hook_for(hook.NODE_DEAD, handler, options)

    def _hook_for(self, kind: str, role: Any, options: dict[str, Any]) -> Any:
        def register(function: Callable[P, R]) -> Submittable[P, R]:
            spec, signature, rules = define(self.name, function, **{**hook.OPTIONS, **options})
            made = Submittable(function, hook.as_hook(spec, kind, role), signature, rules)
            self.add(made)
            return made

        if callable(role):
            function, role = role, None
            return register(function)
        return register

    def cron(self, schedule: str, /, **options: Any) -> Callable[[Callable[P, R]], Submittable[P, R]]:
        """Run a command at its time: ``@product.cron("*/5 * * * *", tz="America/Chicago")`` above ``@product.command``,
        or on a plain function, which is registered then.

        The options are the keys of a schedule file: ``name`` (that of the command, unless given), ``input``, ``tz``,
        ``overlap``, ``waiting``, ``catch_up``, ``jitter``, ``timeout``, ``priority``, ``retries``, ``memory``,
        ``role``, ``monitor``, ``active``.
        Raises :class:`~stoker.model.errors.AppError` for what makes no sense.
        """
        from stoker.client import crons  # not at the top: what it loads would make every fork slower

        def declare(handler: Callable[P, R]) -> Submittable[P, R]:
            command = handler if isinstance(handler, Submittable) else self.command(handler)
            command.spec = crons.declared(command, {"schedule": schedule, **options})
            return command

        return declare

    @overload
    def command(self, handler: Callable[P, R], /) -> Submittable[P, R]: ...

    @overload
    def command(
        self, handler: None = None, /, name: str | None = None, **options: Unpack[Options]
    ) -> Callable[[Callable[P, R]], Submittable[P, R]]: ...

    def command(self, handler: Any = None, /, name: str | None = None, **options: Unpack[Options]) -> Any:
        """Register a handler, as ``@product.command`` or with options:

        ``timeout`` (seconds or "5m"), ``memory`` ("1GB"), ``output`` (of captured output), ``retries`` and
        ``backoff=Backoff(…)``, ``retry_on`` and ``never_retry`` (exception classes), ``once`` (never start twice),
        ``priority`` (number or "critical"), ``concurrency`` (jobs of this command at a time), ``key`` ("user" or
        "input.field") with ``key_limit``, ``rate`` ("10/m"), ``expires`` (longest wait for a slot), ``unique``,
        ``isolation``, ``wait`` (whether a call waits), ``callers`` (roles that may call it), ``secret`` (input fields
        never shown), ``labels`` (what a node must have to run it), ``role`` (only its holder runs it),
        ``fallback`` (of a dispatch without a worker).

        Raises :class:`~stoker.model.errors.AppError` for a signature or option that makes no sense.
        """

        check_options(self.name, options)

        def register(function: Callable[P, R]) -> Submittable[P, R]:
            command = Submittable(function, *define(self.name, function, name=name, **options))
            self.add(command)
            return command

        return register if handler is None else register(handler)


def command(
    first: str, second: str | None = None, /, *, app: str | None = None, **options: Any
) -> Callable[[Callable[P, R]], Submittable[P, R]]:
    """Register without a product at hand: ``@command("app", "name", timeout=300)``, or as surreal-commands spells it,
    ``@command("name", app="app")``. ``retry={"max_attempts": 3}`` is read as ``retries=2``."""
    product, name = (first, second) if second is not None else (app or "app", first)
    retry = options.pop("retry", None)
    if isinstance(retry, dict) and "max_attempts" in retry:
        options.setdefault("retries", int(retry["max_attempts"]) - 1)

    def register(function: Callable[P, R]) -> Submittable[P, R]:
        return Product(product).command(name=name, **options)(function)

    return register
