"""Each user's own keys for providers of models, used for the user's own jobs and for nothing else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from examples.notebook.library import Library
from stoker import Context

VARIABLES = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY"}
"""Where each provider's library looks for its key."""


@contextlib.contextmanager
def provider_env(ctx: Context, library: Library) -> Iterator[None]:
    """Have the user's keys in ``os.environ`` within the block, and the system's hidden.

    A user without a key for a provider does not get the system's key for it: somebody else would pay. No other job sees
    the keys, and afterwards the environment is as it was. A job on nobody's behalf has the system's keys.
    """
    if ctx.user is None:
        yield
        return
    own = library.keys(ctx.user)
    with ctx.environment({variable: own.get(provider) for provider, variable in VARIABLES.items()}):
        yield


def keep(library: Library, user: str | None, provider: str, key: str) -> None:
    """Keep a user's key in the place of the one before. Raises ValueError."""
    if user is None:
        raise ValueError("a key belongs to somebody: submit this with user=…")
    if provider not in VARIABLES:
        raise ValueError(f"no provider {provider!r}; known are {', '.join(VARIABLES)}")
    library.keep_key(user, provider, key)


def chosen() -> str:
    """The provider that does the work: always the model on this computer. With a key in the environment, a larger
    notebook would ask that provider; this one never uses a network, and says so rather than pretend."""
    return "local"


def hints() -> dict[str, str]:
    """The providers whose key is in the environment now, each with the key's last four letters."""
    found = {provider: os.environ.get(variable, "") for provider, variable in VARIABLES.items()}
    return {provider: "…" + key[-4:] if len(key) > 8 else "…" for provider, key in found.items() if key}
