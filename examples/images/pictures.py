"""Pictures to try it with: a photograph, one that was taken with the camera on its side, and a drawn one.

    python pictures.py [FOLDER]

The photograph comes with matplotlib: Grace Hopper, by the United States Navy, in the public domain. It is enlarged to
what a camera gives, with some grain, so that to unpack it is real work.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib import cbook
from PIL import Image, ImageChops, ImageDraw

CAMERA = (3072, 3600)
TURNED = 6
"""The EXIF orientation of a camera that was held upright: turn by 90 degrees to see it right."""


def make(folder: Path) -> list[Path]:
    """Write the pictures, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("hopper.jpg", "turned.jpg", "dunes.png")]
    for path, draw in zip(paths, (photograph, turned, dunes), strict=True):
        if not path.exists():
            draw(path)
    return paths


def photograph(path: Path) -> None:
    _photograph().save(path, quality=92)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = TURNED
    _photograph().transpose(Image.Transpose.ROTATE_90).save(path, quality=88, exif=exif)


def dunes(path: Path) -> None:
    """Sand in bands of light under an evening sky."""
    wide, high = 2400, 1600
    light = Image.linear_gradient("L").resize((wide, high))
    picture = Image.merge("RGB", [light.point(lambda v, f=factor: 255 - int(v * f)) for factor in (0.2, 0.5, 0.7)])
    draw = ImageDraw.Draw(picture)
    for band in range(24):
        top = high // 2 + band * high // 48
        points = [(x, top + (x * (band + 3) // 97 % 211 - 105) ** 2 // 300) for x in range(0, wide + 24, 24)]
        draw.polygon([*points, (wide, high), (0, high)], fill=(235 - 5 * band, 180 - 4 * band, 110 - 3 * band))
    picture.save(path)


def _photograph() -> Image.Image:
    with cbook.get_sample_data("grace_hopper.jpg") as file, Image.open(file) as small:
        large = small.convert("RGB").resize(CAMERA, Image.Resampling.BICUBIC)
    grain = Image.effect_noise(CAMERA, 12)
    return ImageChops.overlay(large, Image.merge("RGB", [grain] * 3))


if __name__ == "__main__":
    for made in make(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")):
        print(made)
