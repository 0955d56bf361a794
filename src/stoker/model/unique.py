"""Under which key a job is unique."""

from __future__ import annotations

import hashlib

from stoker.model.job import Submission


def unique_key(new: Submission) -> str | None:
    """The key under which the job is unique, with the command in front; None when it is not."""
    if new.unique is None:
        return None
    if new.unique.key is not None:
        return f"{new.command}:{new.unique.key}"
    digest = hashlib.blake2b(new.input, digest_size=16).hexdigest()
    return f"{new.command}#{digest}"
