"""How any picture becomes a square of 8-bit RGB. Imports no torch: the processes that decode need little memory."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from study.data.arrays import Images
from study.errors import StudyError

VERSION = 2  # of `read` and `square`; raised whenever the bytes they make change. 2: large JPEGs are decoded smaller
GAP = 2  # a JPEG is decoded at the smallest of 1, 1/2, 1/4, 1/8 that leaves this many times the wanted side


class UnreadableImageError(StudyError):
    """One file that is no image, or a damaged one."""


def read(file: Path | str | bytes, side: int, name: str = "") -> Images:
    """The image in a file, or in bytes called `name`, as uint8 (3, side, side).

    A JPEG whose short side is many times the wanted one is scaled down by its decoder (Pillow's `draft`: libjpeg
    computes each block of 8x8 at 1/2, 1/4 or 1/8 of its side), which saves most of the time. The scale follows from the
    sizes alone, so the same file gives the same bytes wherever the same libjpeg decodes it.

    Raises UnreadableImageError, which names the file, if Pillow cannot read it.
    """
    try:
        with Image.open(BytesIO(file) if isinstance(file, bytes) else file) as image:
            image.draft(None, (GAP * side, GAP * side))  # does nothing in other formats
            return square(image, side)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        what = name or str(file)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImageError(f"{what} is not a readable image ({reason}): mend or remove it") from error


def square(image: Image.Image, side: int) -> Images:
    """uint8 (3, side, side): turned upright by its EXIF, in RGB, the short side resized to `side`, the centre cropped.

    Pillow's bicubic filter, which averages over the source's pixels when it shrinks.
    """
    upright = eight_bit_rgb(ImageOps.exif_transpose(image))
    fitted = ImageOps.fit(upright, (side, side), Image.Resampling.BICUBIC)
    return np.asarray(fitted).transpose(2, 0, 1)


def eight_bit_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow as RGB: transparency over white, 16 bits scaled to 8, other ranges stretched to 0-255."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):  # 32 bits without a unit: the image's own range
        values = np.asarray(image, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
        low, high = values.min(), values.max()
        image = Image.fromarray((255 * (values - low) / max(high - low, 1e-12) + 0.5).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")
