"""Avatar faces with exactly known attributes, drawn on demand: unlimited labelled data.

The faces are the DiceBear rendition of "Avataaars" by Pablo Stanley, rasterised by resvg. Face i of a set
depends on (set seed, i) alone: its labels are drawn from the set's joint distribution, everything else (hair,
mouth, eyes, clothes, colours, shifts) from the seed of the face.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from bench.assets import CREDIT
from bench.core import interrupts
from bench.core.attributes import Attribute, check_distribution
from bench.core.cpus import usable_cpus
from bench.core.errors import ConfigError
from bench.core.progress import track
from bench.protocols.images import ImagesOnDemand, LabelledImages
from bench.storage.files import Array, cache_root, read_arrays, write_arrays

if TYPE_CHECKING:
    from dicebear import Style
    from dicebear.options import Options

ATTRIBUTES = (
    Attribute("eyeglasses", ("absent", "present")),
    Attribute("skin_tone", ("light", "medium", "dark")),
    Attribute("facial_hair", ("absent", "present")),
)
DRAWING = 1  # raise when the drawing below changes: it is part of every set's hash

# The palettes are separated: every colour is nearer to the others of its skin tone than to those of another tone.
SKIN = (
    ("#ffdbb4", "#fbd0a6", "#ffe3c7"),
    ("#d08b5b", "#c98450", "#be7a48"),
    ("#614335", "#6a4a3a", "#573a2d"),
)
STYLE = {
    "accessoriesVariant": ["kurt", "prescription01", "prescription02", "round", "sunglasses", "wayfarers"],
    "accessoriesColor": ["#262e33", "#25557c"],
    "facialHairVariant": ["beardMajestic", "beardMedium"],  # a light beard is a matter of opinion at 32 pixels
    "facialHairColor": ["#2c1b18", "#a55728", "#c93305", "#e8e1e1"],
    "eyesVariant": ["closed", "default", "eyeRoll", "happy", "side", "squint", "surprised", "wink"],
    "mouthVariant": ["concerned", "default", "disbelief", "eating", "grimace", "sad", "serious", "smile", "twinkle"],
    "topVariant": [
        *("bigHair", "bob", "bun", "curly", "curvy", "dreads", "dreads01", "dreads02", "fro", "froBand", "hat"),
        *("hijab", "longButNotTooLong", "miaWallace", "shaggy", "shaggyMullet", "shavedSides", "shortCurly"),
        *("shortFlat", "shortRound", "shortWaved", "sides", "straight01", "straight02", "straightAndStrand"),
        *("theCaesar", "theCaesarAndSidePart", "turban", "winterHat02"),
    ],
    "hairColor": ["#a55728", "#2c1b18", "#b58143", "#d6b370", "#724133", "#4a312c", "#ecdcbf", "#c93305", "#e8e1e1"],
    "backgroundColor": ["#b6e3f4", "#c0aede", "#d1d4f9", "#ffd5dc", "#ffdfbf", "#c8e6c9", "#e6e6e6", "#90a4ae"],
}


def draw_labels(joint: npt.NDArray[np.float64], seed: int, index: int) -> tuple[int, ...]:
    """Return the labels of face `index`, one per attribute, drawn from `joint` with (seed, index) alone."""
    flat = np.random.default_rng([seed, index]).choice(joint.size, p=joint.ravel())
    return tuple(int(v) for v in np.unravel_index(flat, joint.shape))


@functools.cache
def _style() -> Style:
    from dicebear import Style

    return Style(json.loads(files("dicebear_styles").joinpath("avataaars.json").read_text("utf-8")))


@functools.cache
def _options(labels: tuple[int, ...]) -> Options:
    """Return the options that faces with these labels share; cached, since dicebear's check takes most of the time."""
    from dicebear.options import Options

    glasses, skin, hair = labels
    of_labels = {
        "accessoriesProbability": 100 * glasses,
        "skinColor": list(SKIN[skin]),
        "facialHairProbability": 100 * hair,
    }
    return Options({**STYLE, **of_labels})


class _Seeded:
    """Checked options with the seed of one face."""

    def __init__(self, options: Options, seed: str) -> None:
        self._options, self._seed = options, seed

    def seed(self) -> str:
        return self._seed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._options, name)


def draw_svg(labels: tuple[int, ...], seed: int, index: int) -> str:
    """Return one face as SVG, equal to that of `dicebear.Avatar` with these options and this seed."""
    from dicebear.renderer import Renderer
    from dicebear.resolver import Resolver

    options = cast("Options", _Seeded(_options(labels), f"{seed}-{index}"))
    return str(Renderer(_style(), Resolver(_style(), options)).render())


def draw_face(labels: tuple[int, ...], seed: int, index: int, size: int) -> npt.NDArray[np.uint8]:
    """Return one face as uint8 [3, size, size], RGB."""
    import resvg_py
    from PIL import Image

    svg = draw_svg(labels, seed, index)
    # The style draws a bust on a 280 x 280 canvas: crop to the head, with a small shift and zoom.
    rng = np.random.default_rng([seed, index, 1])
    side = rng.uniform(182, 198)
    left, top = 140 - side / 2 + rng.uniform(-6, 6), rng.uniform(24, 36)
    canvas = 'viewBox="0 0 280 280"'
    assert svg.count(canvas) == 1, "the installed dicebear-styles draws on another canvas"
    svg = svg.replace(canvas, f'viewBox="{left:.3f} {top:.3f} {side:.3f} {side:.3f}"')
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    rgb = np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB"))
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


def _draw_block(
    joint: npt.NDArray[np.float64], seed: int, start: int, stop: int, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    labels = [draw_labels(joint, seed, i) for i in range(start, stop)]
    images = [draw_face(lab, seed, i, size) for i, lab in zip(range(start, stop), labels, strict=True)]
    return np.stack(images), np.array(labels, dtype=np.int64)


def avatar_faces(
    joint: npt.ArrayLike, seed: int, n: int, size: int = 32, name: str = "avatars", workers: int | None = None
) -> LabelledImages:
    """Return a set of avatar faces with a given joint distribution, drawn on first access and cached on disk.

    Args:
        joint: distribution [2, 3, 2] over ATTRIBUTES, entries >= 0 summing to 1.
        seed: the set's seed; face i depends on (seed, i), so a longer set begins with the shorter one.
        n: number of faces, >= 1.
        size: side in pixels, 8 to 1024.
        name: of the set.
        workers: number of drawing processes, by default one per core.

    Raises:
        ConfigError: an argument is out of range.
    """
    table = np.asarray(joint, dtype=np.float64)
    shape = tuple(a.n_classes for a in ATTRIBUTES)
    if table.shape != shape:
        raise ConfigError(f"the joint distribution of avatars must have shape {shape}, got {table.shape}")
    check_distribution(table.ravel(), table.size, "the joint distribution of avatars")
    if n < 1:
        raise ConfigError(f"the number of faces must be at least 1, got {n}")
    if not 8 <= size <= 1024:
        raise ConfigError(f"the size of a face must be 8 to 1024 pixels, got {size}")
    versions = [version(p) for p in ("dicebear-core", "dicebear-styles", "resvg-py")]
    recipe = [DRAWING, table.tolist(), seed, n, size, versions, SKIN, STYLE]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
    folder = cache_root() / "data" / f"avatars-{digest[:16]}"

    def draw() -> dict[str, Array]:
        arrays = read_arrays(folder)
        if arrays is None:
            arrays = _draw_all(table, seed, n, size, name, workers)
            write_arrays(folder, arrays)
            arrays = read_arrays(folder) or arrays
        return arrays

    return ImagesOnDemand(name, n, draw, ATTRIBUTES, table, digest, CREDIT)


def _draw_all(
    joint: npt.NDArray[np.float64], seed: int, n: int, size: int, name: str, workers: int | None
) -> dict[str, Array]:
    workers = workers or usable_cpus()
    starts = list(range(0, n, 100))
    if n <= 200 or workers == 1:
        blocks = [_draw_block(joint, seed, s, min(s + 100, n), size) for s in starts]
    else:
        import multiprocessing

        # "spawn": a forked child of a process that has used torch can hang in its thread pool.
        spawn = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(workers, mp_context=spawn, initializer=interrupts.ignore) as pool:
                try:
                    with interrupts.held_back():
                        jobs = [pool.submit(_draw_block, joint, seed, s, min(s + 100, n), size) for s in starts]
                    blocks = [job.result() for job in track(jobs, f"drawing {n:,} faces for {name}")]
                except KeyboardInterrupt:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        except BrokenProcessPool:
            # A spawned process imports the caller's script, which fails without `if __name__ == "__main__"`.
            return _draw_all(joint, seed, n, size, name, workers=1)
    return {"images": np.concatenate([b[0] for b in blocks]), "labels": np.concatenate([b[1] for b in blocks])}
