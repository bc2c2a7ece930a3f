"""A linear probe: logistic regression on frozen features, as an attribute classifier, stored as arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute
from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError
from bench.core.json_text import read_object
from evaluators.classifiers.calibration import softmax
from evaluators.classifiers.files import CONFIG, WEIGHTS, read_confusion

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
HELD_OUT = 0.25  # share of the labelled rows that the probe is measured on and not fitted to
FEWEST = 8  # rows of every class: two held out, six for fitting
SEED = 20_150_612
KIND = "linear_probe"


@dataclass(frozen=True)
class LinearProbe:
    """Linear logits of features, for every attribute.

    Attributes:
        attributes: the attributes that it predicts.
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
        """Return attribute name to float32 softmax(W x + b) [n, K] of features [n, d]; a row all NaN stays NaN.

        Raises:
            NotFinite: a row holds infinity, or NaN beside numbers.
        """
        classified = ~np.isnan(features).all(axis=1)
        probabilities: dict[str, Floats] = {}
        for a in self.attributes:
            rows = np.full((len(features), a.n_classes), np.nan, dtype=np.float32)
            rows[classified] = softmax(
                features[classified].astype(np.float32) @ self.weight[a.name].T + self.bias[a.name]
            )
            probabilities[a.name] = rows
        return probabilities


def fit_probe(
    features: Floats,
    labels: Mapping[str, Ints],
    attributes: tuple[Attribute, ...],
    source: str,
    penalty: float = 1.0,
) -> LinearProbe:
    """Fit a probe and measure it.

    For every attribute a quarter of the rows, stratified by class, is held out; the probe is fitted to the remaining
    rows and its confusion counted on the held-out ones. The solver is scikit-learn's L-BFGS, which is deterministic.
    `bench.recipes.classifier_files.save_probe` writes the result.

    Args:
        features: [n, d]; NaN rows, e.g. of images without a face, are left out.
        labels: attribute name to int [n], the true class in [0, K).
        attributes: the attributes to predict.
        source: digest of the network that the features come from.
        penalty: > 0, weight of |W|^2 / 2 relative to the sum of the log losses.

    Returns:
        The probe; `load_probe` reads the same one from its files.

    Raises:
        ConfigError: the labels do not fit the features, a class has fewer than 8 rows, or the penalty is not above 0.
    """
    if not (np.isfinite(penalty) and penalty > 0):
        raise ConfigError(f"penalty must be a number above 0, got {penalty}; 1 is usual")
    usable = np.asarray(np.isfinite(features).all(axis=1))
    weights: dict[str, npt.NDArray[np.float32]] = {}
    biases: dict[str, npt.NDArray[np.float32]] = {}
    confusions: dict[str, list[list[int]]] = {}
    for a in attributes:
        usable_labels = _checked(labels, a, usable)
        weight, bias, confusion = _fit_one(features[usable].astype(np.float64), usable_labels, a.n_classes, penalty)
        weights[a.name] = np.ascontiguousarray(weight, dtype=np.float32)  # safetensors writes memory as it is laid out
        biases[a.name] = np.ascontiguousarray(bias, dtype=np.float32)
        confusions[a.name] = confusion.tolist()
    probe = LinearProbe(attributes, weights, biases, confusions, source, "")
    digest = digest_of([hashlib.sha256(probe_weights(probe)).hexdigest(), probe_config(probe)])
    return replace(probe, digest=digest)


def probe_weights(probe: LinearProbe) -> bytes:
    """Return the arrays of a probe, as the content of a safetensors file."""
    from safetensors.numpy import save

    arrays = {f"{a.name}.weight": probe.weight[a.name] for a in probe.attributes}
    return save(arrays | {f"{a.name}.bias": probe.bias[a.name] for a in probe.attributes})


def probe_config(probe: LinearProbe) -> dict[str, object]:
    """Return the configuration of a probe, as a JSON object."""
    return {"attributes": {a.name: list(a.classes) for a in probe.attributes}, "source": probe.source, "kind": KIND}


def probe_heldout(probe: LinearProbe) -> dict[str, object]:
    """Return the held-out confusion of a probe and its number of rows, as a JSON object."""
    return {
        "attributes": {name: {"confusion": table, "n": sum(map(sum, table))} for name, table in probe.confusion.items()}
    }


def _checked(labels: Mapping[str, Ints], attribute: Attribute, usable: npt.NDArray[np.bool_]) -> Ints:
    if attribute.name not in labels or labels[attribute.name].shape != usable.shape:
        got = list(labels[attribute.name].shape) if attribute.name in labels else "none"
        raise ConfigError(f"labels of {attribute.name} must have shape {list(usable.shape)}, one per image, got {got}")
    values = labels[attribute.name][usable]
    if values.size and not 0 <= values.min() <= values.max() < attribute.n_classes:
        raise ConfigError(
            f"labels of {attribute.name} must be in [0, {attribute.n_classes}), got {values.min()} to {values.max()}"
        )
    counts = np.bincount(values, minlength=attribute.n_classes)
    if counts.min() < FEWEST:
        raise ConfigError(
            f"every class of {attribute.name} must have {FEWEST} labelled images with a face, got {counts.tolist()}; "
            "label more"
        )
    return values


def _fit_one(
    features: npt.NDArray[np.float64], labels: Ints, n_classes: int, penalty: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return W [K, d] and b [K] of softmax(W x + b), and the counts [K, K] on the held-out rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import confusion_matrix
    from sklearn.model_selection import train_test_split

    train, heldout, train_labels, heldout_labels = train_test_split(
        features, labels, test_size=HELD_OUT, stratify=labels, random_state=SEED
    )
    model = LogisticRegression(C=1 / penalty, max_iter=1000).fit(train, train_labels)
    confusion = confusion_matrix(heldout_labels, model.predict(heldout), labels=np.arange(n_classes))
    weight, bias = model.coef_, model.intercept_
    if n_classes == 2:  # one logit z of the second class, and softmax((0, z)) is its logistic function
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    return weight, bias, confusion.astype(np.int64)


def load_probe(folder: Path) -> LinearProbe:
    """Load the probe of a folder.

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
