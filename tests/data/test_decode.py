"""Pixels: the stated rules for orientation, colour, depth and size, against closed forms and torchvision."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional as reference

from bench.data.decode import Shape, Unusable, check, decode, quiet
from tests.support import copies

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (16, 16), dtype=np.uint8)
RGB = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(data: bytes, size: int = 16, **more: Any) -> np.ndarray:
    check(data, Shape(size, **more))
    return decode(data, Shape(size, **more)).transpose(1, 2, 0)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "WEBP"])
def test_lossless_files_keep_their_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(pixels(saved(Image.fromarray(RGB), kind, **options)), RGB)


def test_grey_is_repeated_and_deep_grey_keeps_its_upper_bits() -> None:
    grey = np.repeat(GREY[:, :, None], 3, axis=2)
    assert np.array_equal(pixels(saved(Image.fromarray(GREY))), grey)
    deep = (GREY.astype(np.uint16) << 8) + 200
    assert np.array_equal(pixels(saved(Image.fromarray(deep))), grey)
    bits = pixels(saved(Image.fromarray(GREY > 127)))
    assert np.array_equal(bits[:, :, 0], np.where(GREY > 127, 255, 0))


def test_transparent_pixels_lie_on_white() -> None:
    alpha = RNG.integers(0, 256, (16, 16), dtype=np.uint8)
    alpha[0], alpha[1] = 0, 255
    shown = pixels(saved(Image.fromarray(np.dstack([RGB, alpha]))))
    a = alpha[:, :, None] / 255
    assert np.abs(shown - (a * RGB + (1 - a) * 255)).max() <= 1
    assert (shown[0] == 255).all()
    assert np.array_equal(shown[1], RGB[1])
    with_grey = pixels(saved(Image.fromarray(np.dstack([GREY, alpha]), "LA")))
    assert np.abs(with_grey[:, :, 0] - (a[:, :, 0] * GREY + (1 - a[:, :, 0]) * 255)).max() <= 1
    palette = Image.fromarray(GREY % 4, "P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    coloured = pixels(saved(palette, transparency=3))
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]])
    assert np.array_equal(coloured, colours[GREY % 4])


def test_cmyk_is_converted_by_its_formula() -> None:
    inks = Image.fromarray(np.full((16, 16, 4), (40, 80, 120, 60), np.uint8), "CMYK")
    shown = pixels(saved(inks, "TIFF"))
    assert np.abs(shown[0, 0] - 255 * (1 - np.array([40, 80, 120]) / 255) * (1 - 60 / 255)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    turn = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: np.rot90,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(pixels(saved(Image.fromarray(RGB), exif=exif)), turn(RGB))


@pytest.mark.parametrize(("width", "height"), [(178, 218), (64, 64), (101, 80), (90, 33)])
@pytest.mark.parametrize("resample", ["bicubic", "bilinear", "lanczos", "box"])
def test_crop_and_resize_are_torchvisions(width: int, height: int, resample: str) -> None:
    data = copies.picture(3, width, height, format="PNG")
    image = Image.open(io.BytesIO(data))
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    cropped = reference.crop(image, top, left, side, side)
    theirs = reference.resize(cropped, [32, 32], reference.InterpolationMode(resample))
    assert np.array_equal(pixels(data, 32, resample=resample), np.asarray(theirs))


def test_a_declared_crop_is_the_centre() -> None:
    data = copies.picture(5, 178, 218)
    theirs = reference.center_crop(Image.open(io.BytesIO(data)), [140, 140]).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.array_equal(pixels(data, 64, crop=140), np.asarray(theirs))


@pytest.mark.parametrize(
    ("data", "shape", "reason"),
    [
        (b"", Shape(16), "zero bytes"),
        (b"GIF89a", Shape(16), "not an image"),
        (b"%PDF-1.4", Shape(16), "not an image"),
        (saved(Image.fromarray(RGB)), Shape(32), "16 x 16 is smaller than size 32, and `enlarge` is not set"),
        (saved(Image.fromarray(RGB)), Shape(8, crop=17), "16 x 16 is smaller than crop 17"),
        (saved(Image.fromarray(RGB)), Shape(16, crop=9), "crop 9 is smaller than size 16, and `enlarge` is not set"),
        (saved(Image.fromarray(RGB)), Shape(16, max_pixels=255), "16 x 16 is more than 255 pixels"),
        (saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"), Shape(16), "of mode F, not 8 or 16 bits"),
    ],
)
def test_what_cannot_be_used_says_why(data: bytes, shape: Shape, reason: str) -> None:
    for use in (check, decode):
        with pytest.raises(Unusable) as refused:
            use(data, shape)
        assert reason in str(refused.value)


def test_enlarging_is_done_when_asked() -> None:
    assert pixels(saved(Image.fromarray(RGB)), 32, enlarge=True).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_damage_of_any_kind_is_a_reason_or_an_image(kind: str) -> None:
    """Bytes changed, cut out and cut off at random: never another exception, and what is checked can be decoded."""
    options = {"exif": Image.Exif()} if kind == "JPEG" else {}
    whole = saved(Image.fromarray(RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)), kind, **options)
    rng, found = np.random.default_rng(1), {"used": 0, "refused": 0}
    with quiet():
        for _ in range(400):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), rng.integers(1, 6)):
                data[place] = rng.integers(256)
            if rng.random() < 0.4:
                del data[rng.integers(len(data)) :]
            try:
                check(bytes(data), Shape(16))
                assert decode(bytes(data), Shape(16)).shape == (3, 16, 16)
                found["used"] += 1
            except Unusable:
                found["refused"] += 1
    assert found["refused"] > 20


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_ends_early_is_found_by_the_check(progressive: bool) -> None:
    whole = copies.picture(1, 300, 300, progressive=progressive)
    check(whole, Shape(32))
    for share in (0.3, 0.6, 0.9, 0.98):
        with pytest.raises(Unusable, match="truncated"):
            check(whole[: int(len(whole) * share)], Shape(32))
