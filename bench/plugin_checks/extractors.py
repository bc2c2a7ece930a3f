"""Checks of an extractor: the kinds and shapes of its arrays, and that each row depends on its image alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from bench.config.build import build_extractor
from bench.core.attributes import Attribute
from bench.core.errors import Incompatible
from bench.core.specs import ExtractorSpec, Fields
from bench.plugin_checks.outcome import NotApplicable, global_generators_unused, require

KINDS = {"features": 2, "perceptual": 2, "detected": 1}  # key of a result to the number of its dimensions
SIDE, N = 32, 5


class Network:
    """An extractor under its public name, with its fields.

    Attributes:
        name: public name.
        fields: values of the fields that differ from their defaults.
        images: uint8 [5, 3, 32, 32], noise of two brightnesses.
    """

    def __init__(self, name: str, fields: Mapping[str, object]) -> None:
        self.name, self.fields = name, dict(fields)
        noise = torch.randint(0, 128, (N, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
        self.images = (noise + 120 * (torch.arange(N) % 2)[:, None, None, None]).to(torch.uint8)

    def build(self) -> Any:
        """Return a new extractor.

        Raises:
            Incompatible: what it needs is not available.
        """
        return build_extractor(ExtractorSpec(self.name, Fields(self.fields), self.name))

    @functools.cached_property
    def extractor(self) -> Any:
        """The extractor, built once."""
        return self.build()

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the images."""
        return self.extract(self.images)

    def extract(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        """Return the arrays of images, checked to be a mapping of float arrays with a row per image.

        Raises:
            Complaint: they are not.
        """
        arrays: dict[str, np.ndarray] = self.extractor.extract(images)
        require(isinstance(arrays, dict), f"extract returned {type(arrays).__name__}, expected a dict of arrays")
        for key, array in arrays.items():
            require(isinstance(array, np.ndarray), f"{key!r} is {type(array).__name__}, expected a NumPy array")
            require(array.dtype.kind == "f", f"{key!r} is {array.dtype}, expected floating point")
            require(
                len(array.shape) > 0 and len(array) == len(images),
                f"{key!r} has shape {list(array.shape)}, expected a row for each of {len(images)} images",
            )
        return arrays

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes that it classifies; none for an extractor of features."""
        return tuple(getattr(self.extractor, "attributes", ()))


def check_identity(network: Network) -> None:
    """Check the name and the digest, and that loading leaves the global generators alone."""
    with global_generators_unused(f"extractor {network.name}"):
        again = network.build()
    name, digest = getattr(again, "name", None), getattr(again, "digest", None)
    require(name == network.name, f"its `name` must be its public name {network.name!r}, got {name!r:.60}")
    require(isinstance(digest, str) and bool(digest), f"its `digest` must be a text, got {digest!r:.60}")
    require(digest == network.extractor.digest, "its `digest` must be the same whenever it is loaded, got another")


def check_arrays(network: Network) -> None:
    """Check the names, shapes and values of the arrays."""
    classes = {attribute.name: attribute.n_classes for attribute in network.attributes}
    require(bool(network.arrays), "extract must return at least one array, got none")
    for key, array in network.arrays.items():
        if key in classes:
            check_probabilities(key, array, classes[key])
            continue
        known = ", ".join([*KINDS, *classes])
        require(
            key in KINDS, f"extract returned {key!r}, expected one of {known}, or the name of one of its attributes"
        )
        require(array.ndim == KINDS[key], f"{key!r} has shape {list(array.shape)}, expected {KINDS[key]} dimensions")
        require(bool(np.isfinite(array).all()), f"{key!r} holds NaN or infinity")
        if key == "detected":
            require(bool(np.isin(array, (0, 1)).all()), f"'detected' must be 0 or 1, got {sorted(set(array.tolist()))}")
    lacking = [name for name in classes if name not in network.arrays]
    require(not lacking, f"its `attributes` name {', '.join(lacking)}, but extract returns no such probabilities")


def check_probabilities(name: str, rows: np.ndarray, k: int) -> None:
    """Check probabilities [n, K]: in [0, 1], summing to 1, or a whole row of NaN where the classifier abstains.

    Raises:
        Complaint: they are not.
    """
    require(rows.shape == (len(rows), k), f"{name!r} has shape {list(rows.shape)}, expected [{len(rows)}, {k}]")
    abstained = np.isnan(rows).all(axis=1)
    classified = rows[~abstained]
    require(
        bool(((classified >= -1e-6) & (classified <= 1 + 1e-6)).all()),
        f"{name!r} must hold probabilities in [0, 1], or a whole row of NaN, got {rows[~abstained][:1].tolist()}",
    )
    require(
        bool(np.allclose(classified.sum(axis=1), 1, atol=1e-3)),
        f"the probabilities of {name!r} must sum to 1 per row, got {classified.sum(axis=1)[:3].tolist()}",
    )


def check_classifier(network: Network) -> None:
    """Check the parts that an attribute classifier needs besides its probabilities."""
    if not network.attributes:
        raise NotApplicable("gives features, not probabilities of attributes")
    kinds = [type(a).__name__ for a in network.attributes if not isinstance(a, Attribute)]
    require(not kinds, f"`attributes` must be bench.core.attributes.Attribute, got {', '.join(kinds)}")
    confusion = getattr(network.extractor, "confusion", None)
    require(
        isinstance(confusion, Mapping),
        f"`confusion` must map attributes to counts [K, K] on held-out images, and may be empty, got {confusion!r:.60}",
    )
    assert isinstance(confusion, Mapping)
    for attribute in network.attributes:
        if attribute.name in confusion:
            counts, k = np.asarray(confusion[attribute.name]), attribute.n_classes
            require(
                counts.shape == (k, k), f"confusion of {attribute.name} has shape {list(counts.shape)}, not {[k, k]}"
            )
            require(bool((counts >= 0).all()), f"confusion of {attribute.name} must be counts >= 0")


def check_rows(network: Network) -> None:
    """Check that a row depends on its image alone, that no image is an empty array, and that images are left alone."""
    before = network.images.clone()
    with global_generators_unused(f"extractor {network.name}"):
        again = network.extract(network.images)
    require(torch.equal(network.images, before), "extract wrote into the images; write into a copy")
    for key, array in network.arrays.items():
        same = np.allclose(again[key], array, rtol=1e-4, atol=1e-5, equal_nan=True)
        require(same, f"the same images must give the same {key!r}, got others")
    for rows in (slice(0, 2), slice(2, N), slice(0, 0)):
        for key, array in network.extract(network.images[rows]).items():
            require(key in network.arrays, f"extract returned {key!r} for some of the images only")
            same = np.allclose(array, network.arrays[key][rows], rtol=1e-3, atol=1e-3, equal_nan=True)
            require(same, f"a row of {key!r} must depend on its image alone, but changes with the other images")


def check_gradient(network: Network) -> None:
    """Check the logits of a differentiable classifier: their shape, and that images have a finite gradient."""
    if not hasattr(network.extractor, "logits"):
        raise NotApplicable("has no `logits`, so no method can guide with it")
    x = (network.images.float() / 127.5 - 1).requires_grad_()
    try:
        logits = network.extractor.logits(x)
    except Incompatible as error:
        raise NotApplicable(str(error)) from error
    for attribute in network.attributes:
        rows = logits[attribute.name]
        expected = (N, attribute.n_classes)
        require(
            tuple(rows.shape) == expected, f"logits of {attribute.name} have shape {list(rows.shape)}, not {expected}"
        )
        (gradient,) = torch.autograd.grad(rows.sum(), x, retain_graph=True)
        require(bool(torch.isfinite(gradient).all()), f"the gradient of the logits of {attribute.name} must be finite")


CHECKS: dict[str, Callable[[Network], None]] = {
    "name and digest": check_identity,
    "arrays": check_arrays,
    "classifier": check_classifier,
    "rows": check_rows,
    "gradient": check_gradient,
}
