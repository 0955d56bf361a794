"""A private environment: one user's keys for one job, never seen by another.

Where a job has its process to itself, the variables are simply set and put back. In a resident, where several jobs
share one process, :func:`install` puts a :class:`PrivateEnviron` in the place of ``os.environ``: what a job sets by
:func:`private` lives in its own context (task or thread) and is not there for anybody else. It is never written to the
environment that C code and child processes inherit, so nothing can leak that way either.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Iterator, Mapping, MutableMapping

_overlay: contextvars.ContextVar[dict[str, str | None]] = contextvars.ContextVar("stoker_environ")
_NOTHING: dict[str, str | None] = {}


class PrivateEnviron(MutableMapping[str, str]):
    """``os.environ`` with the current job's own variables in front."""

    def __init__(self, shared: MutableMapping[str, str]) -> None:
        self._shared = shared

    def __getitem__(self, name: str) -> str:
        own = _overlay.get(_NOTHING)
        if name not in own:
            return self._shared[name]
        value = own[name]
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: str) -> None:
        own = _overlay.get(_NOTHING)
        if name in own:
            # a key of this job stays this job's, also when the job renews it
            own[name] = value
        else:
            self._shared[name] = value

    def __delitem__(self, name: str) -> None:
        own = _overlay.get(_NOTHING)
        if name not in own:
            del self._shared[name]
        elif own[name] is None:
            raise KeyError(name)
        else:
            own[name] = None

    def __iter__(self) -> Iterator[str]:
        own = _overlay.get(_NOTHING)
        yield from (name for name, value in own.items() if value is not None)
        yield from (name for name in self._shared if name not in own)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def copy(self) -> dict[str, str]:
        return dict(self)

    def __or__(self, other: Mapping[str, str]) -> dict[str, str]:
        return {**self, **other}

    def __ror__(self, other: Mapping[str, str]) -> dict[str, str]:
        return {**other, **self}

    def __ior__(self, other: Mapping[str, str]) -> PrivateEnviron:
        self.update(other)
        return self


def install() -> None:
    """Make ``os.environ`` of this process private to each job. For residents, once, before any job."""
    if not isinstance(os.environ, PrivateEnviron):
        # B003: not to clear it, but to stand in its place
        os.environ = PrivateEnviron(os.environ)  # type: ignore[assignment]  # noqa: B003


@contextlib.contextmanager
def private(values: Mapping[str, str | None]) -> Iterator[None]:
    """Have ``values`` in ``os.environ`` within the block, for this job alone; afterwards all is as it was. None means
    that the variable is not there."""
    if isinstance(os.environ, PrivateEnviron):
        token = _overlay.set({**_overlay.get(_NOTHING), **values})
        try:
            yield
        finally:
            _overlay.reset(token)
        return
    before = {name: os.environ.get(name) for name in values}
    try:
        _set(values)
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
