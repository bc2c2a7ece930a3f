"""Decode image files to squares of uint8 RGB by fixed rules; errors give the reason."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Exceptions of Pillow on damaged files; any other is a defect of the bench and keeps its traceback.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, AttributeError)
_ALSO = (ArithmeticError, MemoryError, struct.error, zlib.error)
_HUGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class Unusable(Exception):
    """An unusable image file; the text is the reason, without the file's name."""


@dataclass(frozen=True)
class Shape:
    """The pixel settings of a set; fields as in `bench.config.data_source.DataSource`."""

    size: int
    crop: int | None = None
    resample: str = "bicubic"
    enlarge: bool = False
    max_pixels: int = 64_000_000


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings, except that a huge image is an error; filters are global, so call it once per pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def check(data: bytes, shape: Shape) -> None:
    """Read an image to its end, JPEGs at an eighth of their size, to find damage.

    Raises:
        Unusable: it cannot be decoded, is huge, or smaller than `shape` allows.
    """
    try:
        image = _opened(data, shape)
        image.draft(None, (1, 1))
        image.load()
        _depth(image)
    except (*_DAMAGE, *_ALSO, *_HUGE) as error:
        raise Unusable(_reason(error)) from error


def decode(data: bytes, shape: Shape) -> npt.NDArray[np.uint8]:
    """Return an image as uint8 [3, size, size], RGB.

    The first frame, turned as its EXIF orientation says; a pixel of 16 bits keeps its upper 8; transparent pixels lie
    on white; grey is repeated; CMYK and other modes by Pillow's conversion, without colour profiles. Then the centre
    square is cut out (of odd margins the larger one at the right and the bottom) and resized.

    Raises:
        Unusable: as `check`.
    """
    try:
        image = _opened(data, shape)
        image.load()
        _depth(image)
        image = _rgb(ImageOps.exif_transpose(image))
    except (*_DAMAGE, *_ALSO, *_HUGE) as error:
        raise Unusable(_reason(error)) from error
    side = shape.crop or min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop(
        (left, top, left + side, top + side)
    )  # before resizing, so that pixels outside it have no influence
    if side != shape.size:
        square = square.resize((shape.size, shape.size), Image.Resampling[shape.resample.upper()])
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def _opened(data: bytes, shape: Shape) -> Image.Image:
    if not data:
        raise Unusable("zero bytes")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except _HUGE as error:
        raise Unusable(f"more than {shape.max_pixels:,} pixels") from error
    except UnidentifiedImageError as error:
        raise Unusable("not an image") from error
    if image.width * image.height > shape.max_pixels:
        raise Unusable(f"{image.width} x {image.height} is more than {shape.max_pixels:,} pixels")
    side = min(image.size)
    if side < (shape.crop or 0):
        raise Unusable(f"{image.width} x {image.height} is smaller than crop {shape.crop}")
    if (shape.crop or side) < shape.size and not shape.enlarge:
        smaller = f"crop {shape.crop}" if shape.crop else f"{image.width} x {image.height}"
        raise Unusable(f"{smaller} is smaller than size {shape.size}, and `enlarge` is not set")
    return image


def _depth(image: Image.Image) -> None:
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):  # a PGM of 16 bits is read as 0 to 65535
        raise Unusable(f"its pixels are of mode {image.mode}, not 8 or 16 bits")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        grey = (levels >> 8).astype(np.uint8)
        if isinstance(image.info.get("transparency"), int):
            grey = np.where(levels == image.info["transparency"], np.uint8(255), grey)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _reason(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"truncated or broken: {text}"
