"""Thumbnails, made in workers of their own: what the worker runs, and where there is none, the application."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct
from PIL import Image, ImageOps

from stoker import Buffer, Product

PIXELS_MAX = 80_000_000
"""A small file can be an enormous picture; such a one is refused before it is unpacked."""

images = Product("images", isolation="process", workers=1)

Width = Annotated[int, Meta(ge=1, le=4096)]


class NoPicture(ValueError):
    """The bytes are none, or none that may be read."""


class Thumbnail(Struct):
    """A JPEG, and the process that made it."""

    jpeg: Buffer
    width: int
    height: int
    pid: int


@images.command(timeout="30s")
def thumb(picture: Buffer, width: Width = 320, path: str | None = None) -> Thumbnail:
    """A picture as a JPEG that is no wider, as the camera meant it to be held; kept in a file, too, if one is named.

    The picture's memory was moved here, so it is read where it is.
    """
    image = _read(picture, width)
    if image.width > width:
        image = image.resize((width, max(1, round(width * image.height / image.width))), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    jpeg = out.getvalue()
    if path is not None:
        _keep(Path(path), jpeg)
    return Thumbnail(Buffer.of(jpeg), image.width, image.height, os.getpid())


@images.command(retries=2)
def thumb_of_file(source: Path, width: Width = 320) -> Path:
    """The same for what need not be there at once: submitted, so that it is done whatever happens. What is stored has
    no Buffers; it names a file."""
    picture = Buffer.from_file(source)
    target = source.with_name(f"{source.stem}-{width}.jpg")
    thumb(picture, width, str(target))
    return target


def _read(picture: Buffer, width: int) -> Image.Image:
    try:
        with Image.open(picture) as opened:
            if opened.width * opened.height > PIXELS_MAX:
                raise NoPicture(f"the picture has more than {PIXELS_MAX // 1_000_000} million pixels")
            opened.draft("RGB", (width, width))  # a JPEG is unpacked no larger than needed
            return ImageOps.exif_transpose(opened).convert("RGB")
    except NoPicture:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise NoPicture(f"this is no picture that can be read: {error}") from None


def name_of(picture: Buffer, width: int) -> str:
    """Where a thumbnail is kept: the same picture at the same width is the same file."""
    return f"{hashlib.sha256(picture.view()).hexdigest()[:32]}-{width}.jpg"


def _keep(path: Path, data: bytes) -> None:
    """Whole or not at all, also for somebody who reads it this very moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as part:
        part.write(data)
    os.replace(part.name, path)
