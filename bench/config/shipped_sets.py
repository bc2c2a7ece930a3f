"""The image sets that come with the bench: avatar faces, by name, distribution and seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def correlated(
    skin: tuple[float, ...], glasses_given_skin: tuple[float, ...], hair_given_skin: tuple[float, ...]
) -> npt.NDArray[np.float64]:
    """Return the joint distribution in which glasses and facial hair depend on the skin tone only.

    Args:
        skin: P(skin tone), light, medium and dark.
        glasses_given_skin: P(eyeglasses present | skin tone).
        hair_given_skin: P(facial hair present | skin tone).

    Returns:
        float64 [2, 3, 2] over eyeglasses, skin tone and facial hair (`bench.data.avatars.ATTRIBUTES`).
    """
    g, s, f = (np.array(v) for v in (glasses_given_skin, skin, hair_given_skin))
    return np.asarray(np.einsum("gs,s,fs->gsf", np.stack([1 - g, g]), s, np.stack([1 - f, f])))


BALANCED = np.full((2, 3, 2), 1 / 12)
# Marginals 80/20, 70/20/10 and 70/30; glasses are rarer and facial hair is commoner on darker skin, so the joint
# distribution is not the product of its marginals.
BIASED = correlated((0.7, 0.2, 0.1), (0.23, 0.155, 0.08), (0.26, 0.44, 0.30))


@dataclass(frozen=True)
class AvatarSet:
    """A named set of avatar faces.

    Attributes:
        joint: distribution [2, 3, 2] over `bench.data.avatars.ATTRIBUTES`.
        seed: of the set; face i depends on (seed, i).
        n: default number of faces.
        purpose: one line for `run_bench.py list data`.
    """

    joint: npt.NDArray[np.float64]
    seed: int
    n: int
    purpose: str


SETS = {
    "avatars-biased": AvatarSet(BIASED, 1, 20_000, "skewed and correlated: the training set of the biased score model"),
    "avatars-balanced": AvatarSet(
        BALANCED, 2, 2_000, "every combination equally often: the reference of Frechet distances"
    ),
    "avatars-heldout": AvatarSet(BALANCED, 3, 2_000, "the test set of classifiers"),
    "avatars-labelled": AvatarSet(BALANCED, 4, 4_000, "labelled images for methods and classifiers to learn from"),
    "avatars-unbiased": AvatarSet(BALANCED, 5, 10_000, "source of the small reference set of training-time methods"),
    "avatars-guide": AvatarSet(BALANCED, 6, 4_000, "training set of the guiding classifier, disjoint from the others"),
}
