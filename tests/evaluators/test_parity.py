"""The same images through other libraries, end to end: clean-fid's FID and CLIP-FID, torch-fidelity's FID, KID, PRC.

Parity of a metric alone (prdc, scikit-learn, SciPy) is in that metric's own tests.
"""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import cleanfid.fid
import numpy as np
import pytest
import torch
import torch_fidelity
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from evaluators import clip_features, inception
from evaluators.frechet import Evaluator as Frechet
from evaluators.kid import Evaluator as Kid
from evaluators.prdc import Evaluator as Prdc
from tests.support.backbones import pictures, save_clip, save_detector, save_pngs
from tests.support.sets import scores_of

CPU = torch.device("cpu")
ON_CPU: dict[str, Any] = {"num_workers": 0, "device": CPU, "use_dataparallel": False, "verbose": False}
N = 60  # as many of each: torch-fidelity's KID takes subsets of one size


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples and reals as PNG files, as other libraries read them."""
    root = tmp_path_factory.mktemp("images")
    for name, images in images_of().items():
        save_pngs(root / name, images)
    return root


def images_of() -> dict[str, torch.Tensor]:
    return {"samples": pictures(N, 0, dark=0.8), "reals": pictures(N, 1)}


def features_of(extractor: Any) -> tuple[np.ndarray, np.ndarray]:
    samples, reals = (extractor.extract(images)["features"] for images in images_of().values())
    return samples, reals


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # of SciPy, called by clean-fid
def test_fid_is_clean_fids(folder: Path, tmp_path: Path) -> None:
    """Its folders, resize, statistics and distance; the network is the same file, called by clean-fid's formula."""
    fields = save_detector(tmp_path / inception.FILE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        layers = torch.jit.load(fields["weights"]).eval().layers
    theirs = cleanfid.fid.compute_fid(
        str(folder / "samples"),
        str(folder / "reals"),
        mode="clean",
        custom_feat_extractor=lambda x: layers((x - 128) / 128).flatten(1),
        **ON_CPU,
    )
    ours = scores_of(Frechet(), *features_of(inception.Extractor(**fields)))["frechet_net"].value
    assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
def test_clip_fid_is_clean_fids(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clip_vit_b_32: its own resize, crop and normalisation; `clip`, which it loads the network by, is put on."""
    extractor = clip_features.Extractor(f"path:{save_clip(tmp_path)}")
    loaded = types.ModuleType("clip")
    network = extractor._checkpoint.network
    loaded.load = lambda name, device: (network, None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "clip", loaded)
    monkeypatch.delitem(sys.modules, "cleanfid.clip_features", raising=False)
    theirs = cleanfid.fid.compute_fid(
        str(folder / "samples"), str(folder / "reals"), model_name="clip_vit_b_32", **ON_CPU
    )
    monkeypatch.delitem(sys.modules, "cleanfid.clip_features", raising=False)
    ours = scores_of(Frechet(), *features_of(extractor))["frechet_net"].value
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_fid_kid_precision_and_recall_are_torch_fidelitys(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = inception.Extractor(**save_detector(tmp_path / inception.FILE))

    class Theirs(FeatureExtractorBase):  # type: ignore[misc]
        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("pooled",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "pooled"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            # In float64, or its kernel's rounding would be 1e-5 of its KID.
            return (torch.from_numpy(extractor.extract(x)["features"]).double(),)

    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "ours", Theirs)
    theirs = torch_fidelity.calculate_metrics(
        input1=str(folder / "samples"),
        input2=str(folder / "reals"),
        feature_extractor="ours",
        **{"fid": True, "kid": True, "prc": True, "kid_subsets": 1, "kid_subset_size": N, "prc_neighborhood": 5},
        **{"cuda": False, "cache": False, "save_cpu_ram": True, "verbose": False},
    )
    samples, reals = features_of(extractor)
    actual = {
        name: score.value
        for evaluator in (Frechet(), Kid(), Prdc())
        for name, score in scores_of(evaluator, samples, reals).items()
    }
    assert actual["frechet_net"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    assert actual["kid_net"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)
    assert actual["precision_k5_net"] == pytest.approx(theirs["precision"])
    assert actual["recall_k5_net"] == pytest.approx(theirs["recall"])
    assert 0 < actual["recall_k5_net"] < 1, "a value that could have come out otherwise"
    assert 0 < actual["precision_k5_net"] < 1
