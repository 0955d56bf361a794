"""Names for things: job ids that sort by time and a fresh id for each boot."""

from __future__ import annotations

import os
import re
import time

from stoker.model.errors import RequestError

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
RECORD_PREFIX = "command:"
NO_JOB = "0" * 32
"""The id of a run that is no job's: practice."""


def new_job_id() -> str:
    """A UUIDv7 (RFC 9562) as 32 hex digits: 48 bits of Unix milliseconds, then random bits.

    Made by the client, so that a submission may be sent again after a lost answer without making a second job.
    """
    millis = time.time_ns() // 1_000_000
    value = (millis << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return f"{value:032x}"


def job_id(text: str) -> str:
    """Read a job id as people write it: with or without ``command:`` in front, or with a UUID's hyphens.

    Raises :class:`RequestError` for anything that cannot be an id; an empty id is never accepted.
    """
    bare = text.removeprefix(RECORD_PREFIX)
    if len(bare) == 36 and bare.count("-") == 4:
        bare = bare.replace("-", "")
    if not _ID.match(bare):
        raise RequestError(f"{text!r} is not a job id: 1 to 64 of a-z, 0-9 and '-' are")
    return bare


def child_id(parent: str, number: int) -> str:
    """The id of the ``number``-th job that a job submits: the same whenever it is asked for, and no other job's."""
    name = f"{parent}s{number}"
    if _ID.match(name):
        return name
    # a long line of descent: hashlib is not loaded before, every fork would pay for it
    import hashlib

    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def new_boot_id() -> str:
    """Who this daemon is, for as long as it lives; a restart is somebody else."""
    return os.urandom(8).hex()
