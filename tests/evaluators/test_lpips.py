"""LPIPS as squared distances of points: the package lpips on the same weights, and every way not to have them."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import alexnet

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.core.errors import ConfigError, Incompatible
from bench.engine.options import Options
from evaluators.lpips import FILE, LAYERS, Extractor, heads_file, read_heads
from tests.support.small import small_suite


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AlexNet's convolutions, drawn: the real ones are a download, and parity does not depend on which."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("alexnet") / FILE
    torch.save({f"features.{k}": v for k, v in alexnet(weights=None).features.state_dict().items()}, path)
    return path


def pictures(n: int, side: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, 3, side, side), dtype=np.uint8))


def distances(a: torch.Tensor | np.ndarray, b: torch.Tensor | np.ndarray) -> np.ndarray:
    return np.square(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).sum(axis=1)


def test_squared_distances_are_those_of_the_package(weights: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks torchvision in a way that torchvision no longer likes
        import lpips

        package = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    stored = torch.load(weights, weights_only=True)
    for stage in range(1, 6):
        for number, layer in getattr(package.net, f"slice{stage}").named_children():
            if hasattr(layer, "weight"):
                layer.load_state_dict({k: stored[f"features.{number}.{k}"] for k in ("weight", "bias")})
    a, b = pictures(6), pictures(6, seed=1)
    b[3:] = (a[3:] // 8) * 8  # nearly alike
    with torch.no_grad():
        want = package(a / 127.5 - 1, b / 127.5 - 1).flatten().numpy()
    created = Extractor(weights=weights)
    assert distances(created.embed(a), created.embed(b)) == pytest.approx(want, rel=1e-5)
    half = [created.extract(x)["perceptual"] for x in (a, b)]
    assert half[0].dtype == np.float16
    assert distances(*half) == pytest.approx(want, rel=5e-3)
    assert want[3:].max() < want[:3].min()


def test_heads_weigh_every_layer_and_none_is_negative() -> None:
    heads = read_heads(heads_file())
    assert len(heads) == len(LAYERS)
    assert all(float(w.min()) >= 0 and float(w.max()) > 0 for w in heads)


def test_images_of_any_side_are_seen_at_one_and_batches_do_not_matter(weights: Path) -> None:
    created = Extractor(weights=weights)
    small, large = created.extract(pictures(70, 32))["perceptual"], created.extract(pictures(2, 100))["perceptual"]
    assert small.shape[1] == large.shape[1]
    assert (created.extract(pictures(70, 32)[66:])["perceptual"] == small[66:]).all()
    assert Extractor(weights=weights, side=32).extract(pictures(1))["perceptual"].shape[1] < small.shape[1]
    assert Extractor(weights=weights, side=32).digest != created.digest == Extractor(weights=weights).digest


def test_a_run_scores_the_distance_to_the_paired_baseline_alone(tmp_path: Path, weights: Path) -> None:
    suite = small_suite(
        tmp_path, tasks=[{"attributes": ["eyeglasses"]}], metrics=["paired_baseline", "frechet"],
        methods=[{"name": "vanilla"}, {"name": "sample_guidance", "with": {"labels_per_class": 20}}],
        features=[{"name": "lpips", "with": {"weights": str(weights)}}], references={"avatars-balanced": 40},
    )  # fmt: skip
    assert not run(read_suite(str(suite)), Options(tmp_path / "out", workers=1)).problems
    with (tmp_path / "out" / "small" / "results.csv").open(newline="") as f:
        rows = {(r["method"], r["metric"]): r for r in csv.DictReader(f)}
    assert set(rows) == {(m, "paired_distance_lpips") for m in ("vanilla", "sample_guidance")}  # and no frechet_lpips
    assert rows["vanilla", "paired_distance_lpips"]["value"] == "0.0"
    assert float(rows["sample_guidance", "paired_distance_lpips"]["value"]) > 0
    assert not list((tmp_path / "out" / "store" / "features").glob("lpips-*/references"))  # compared with no reference


def test_without_weights_it_is_skipped_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRDIFF_CACHE", str(tmp_path / "cache"))
    with pytest.raises(Incompatible, match=rf"got no file .*{FILE}; put https://.*{FILE} there, give its path as"):
        Extractor()

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(Incompatible, match="cannot be downloaded: no route; fetch it elsewhere and put it at"):
        Extractor(download=True)


def test_the_file_in_the_cache_folder_is_taken(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRDIFF_CACHE", str(tmp_path))
    (tmp_path / "lpips").mkdir()
    (tmp_path / "lpips" / FILE).write_bytes(weights.read_bytes())
    assert Extractor().digest == Extractor(weights=weights).digest


def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="the side must be 32 pixels or more, got 31"):
        Extractor(weights=weights, side=31)
    with pytest.raises(ConfigError, match=f"no weights at .*; give the path of {FILE}"):
        Extractor(weights=tmp_path / "absent.pth")
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="it is damaged or not a file of weights"):
        Extractor(weights=tmp_path / "cut.pth")
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"must hold torchvision's AlexNet, got weights in which 'features\.0\.bias'"):
        Extractor(weights=tmp_path / "other.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(ConfigError, match="must hold named tensors, got list"):
        Extractor(weights=tmp_path / "list.pth")
    with pytest.raises(ConfigError, match="must hold the heads of AlexNet"):
        read_heads(weights)
    with pytest.raises(ConfigError, match="images must be uint8"):
        Extractor(weights=weights).extract(torch.zeros(1, 3, 64, 64))

    from evaluators import lpips

    def absent(_: str) -> None:
        raise lpips.PackageNotFoundError

    monkeypatch.setattr(lpips, "distribution", absent)
    with pytest.raises(Incompatible, match="install it: pip install lpips"):
        Extractor(weights=weights)
