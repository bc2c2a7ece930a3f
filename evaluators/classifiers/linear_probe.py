"""A linear probe: logistic regression on frozen features, as an attribute classifier, stored as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute
from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError
from bench.core.json_text import read_object
from bench.storage.files import write_bytes, write_json
from evaluators.classifiers.calibration import softmax
from evaluators.classifiers.files import CONFIG, HELDOUT, WEIGHTS, read_confusion

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
HELD_OUT = 0.25  # share of the labelled rows that measures the probe and teaches it nothing
FEWEST = 8  # rows of every class: two held out, six learnt from
SEED = 20_150_612


@dataclass(frozen=True)
class LinearProbe:
    """Linear logits of features, for every attribute.

    Attributes:
        attributes: what it reads.
        weight: attribute name to float32 [K, d].
        bias: attribute name to float32 [K].
        confusion: attribute name to counts [K, K] on held-out rows, rows the true class.
        source: digest of the network whose features it was fitted on.
        digest: hash of the arrays and the configuration.
    """

    attributes: tuple[Attribute, ...]
    weight: Mapping[str, npt.NDArray[np.float32]]
    bias: Mapping[str, npt.NDArray[np.float32]]
    confusion: Mapping[str, list[list[int]]]
    source: str
    digest: str

    def probabilities(self, features: Floats) -> dict[str, Floats]:
        """Attribute name to float32 softmax(W x + b) [n, K] of features [n, d]; a row of NaN stays NaN."""
        classified = np.isfinite(features).all(axis=1)
        found = {}
        for a in self.attributes:
            rows = np.full((len(features), a.n_classes), np.nan, dtype=np.float32)
            rows[classified] = softmax(
                features[classified].astype(np.float32) @ self.weight[a.name].T + self.bias[a.name]
            )
            found[a.name] = rows
        return found


def fit_probe(
    folder: Path,
    features: Floats,
    labels: Mapping[str, Ints],
    attributes: tuple[Attribute, ...],
    source: str,
    penalty: float = 1.0,
) -> LinearProbe:
    """Fit, measure and store a probe.

    For every attribute a quarter of the rows, each class alike, is held out; the probe learns from the others and its
    confusion is counted on those. The solver is scikit-learn's L-BFGS: it is deterministic.

    Args:
        folder: where the arrays, the configuration and the confusion go.
        features: [n, d]; rows of NaN, as of images without a face, are left out.
        labels: attribute name to int [n], the true class in [0, K).
        attributes: what to read.
        source: digest of the network that the features come from.
        penalty: > 0, weight of |W|^2 / 2 beside the sum of the log losses.

    Returns:
        The probe, as `load_probe` reads it back.

    Raises:
        ConfigError: the labels do not fit the features, a class has fewer than 8 rows, or the penalty is not above 0.
    """
    from safetensors.numpy import save

    if not (np.isfinite(penalty) and penalty > 0):
        raise ConfigError(f"penalty must be a number above 0, got {penalty}; 1 is usual")
    usable = np.asarray(np.isfinite(features).all(axis=1))
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    measured = {}
    for a in attributes:
        known = _checked(labels, a, usable)
        weight, bias, confusion = _fit_one(features[usable].astype(np.float64), known, a.n_classes, penalty)
        for part, array in (
            ("weight", weight),
            ("bias", bias),
        ):  # safetensors writes memory as it lies
            arrays[f"{a.name}.{part}"] = np.ascontiguousarray(array, dtype=np.float32)
        measured[a.name] = {"confusion": confusion.tolist(), "n": int(confusion.sum())}
    write_bytes(folder / WEIGHTS, save(arrays))
    write_json(
        folder / CONFIG, {"attributes": {a.name: list(a.classes) for a in attributes}, "source": source, "kind": KIND}
    )
    write_json(folder / HELDOUT, {"attributes": measured})
    return load_probe(folder)


KIND = "linear_probe"


def _checked(labels: Mapping[str, Ints], attribute: Attribute, usable: npt.NDArray[np.bool_]) -> Ints:
    if attribute.name not in labels or labels[attribute.name].shape != usable.shape:
        got = list(labels[attribute.name].shape) if attribute.name in labels else "none"
        raise ConfigError(f"labels of {attribute.name} must have shape {list(usable.shape)}, one an image, got {got}")
    known = labels[attribute.name][usable]
    if known.size and not 0 <= known.min() <= known.max() < attribute.n_classes:
        raise ConfigError(
            f"labels of {attribute.name} must be in [0, {attribute.n_classes}), got {known.min()} to {known.max()}"
        )
    counts = np.bincount(known, minlength=attribute.n_classes)
    if counts.min() < FEWEST:
        raise ConfigError(
            f"every class of {attribute.name} must have {FEWEST} labelled images with a face, got {counts.tolist()}; "
            "label more"
        )
    return known


def _fit_one(
    features: npt.NDArray[np.float64], labels: Ints, n_classes: int, penalty: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """W [K, d] and b [K] of softmax(W x + b), and the counts [K, K] on the rows held out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import confusion_matrix
    from sklearn.model_selection import train_test_split

    learnt, held, known, true = train_test_split(
        features, labels, test_size=HELD_OUT, stratify=labels, random_state=SEED
    )
    model = LogisticRegression(C=1 / penalty, max_iter=1000).fit(learnt, known)
    confusion = confusion_matrix(true, model.predict(held), labels=np.arange(n_classes))
    weight, bias = model.coef_, model.intercept_
    if n_classes == 2:  # one logit z of the second class, and softmax((0, z)) is its logistic function
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    return weight, bias, confusion.astype(np.int64)


def load_probe(folder: Path) -> LinearProbe:
    """The probe of a folder.

    Raises:
        ConfigError: a file is missing or damaged, or the folder holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    config, path = read_object(folder / CONFIG, "give a folder that a linear probe was fitted into"), folder / WEIGHTS
    if config.get("kind") != KIND:
        raise ConfigError(f"{folder / CONFIG} must describe a {KIND}, got {config.get('kind')!r}; fit one")
    try:
        attributes = tuple(Attribute(name, tuple(classes)) for name, classes in config["attributes"].items())
        source = str(config["source"])
        arrays = load_file(path)
        weight = {a.name: arrays[f"{a.name}.weight"] for a in attributes}
        bias = {a.name: arrays[f"{a.name}.bias"] for a in attributes}
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder} does not hold a whole probe: {error} is missing; fit it again") from error
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"cannot read {path}: {error}; copy it again, or fit the probe again") from error
    for a in attributes:
        if weight[a.name].shape[:1] != (a.n_classes,) or bias[a.name].shape != (a.n_classes,):
            raise ConfigError(
                f"{path} must have {a.n_classes} rows for {a.name}, got {len(weight[a.name])}; fit it again"
            )
    digest = digest_of([file_digest(path), config])
    return LinearProbe(attributes, weight, bias, read_confusion(folder, attributes), source, digest)
