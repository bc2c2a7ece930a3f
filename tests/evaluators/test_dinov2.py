"""DINOv2's weights are loaded as timm has them, its images and positions made as its authors' code makes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision import transforms

from bench.core.errors import ConfigError, Incompatible, UnknownName
from evaluators import dinov2
from evaluators.dinov2 import Extractor, resampled, transformed
from tests.support.backbones import SMALL, pictures, save_dinov2

NETWORKS = ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"]


def test_images_are_made_as_dgm_eval_states_it() -> None:
    """Squashed to 224 pixels by PIL's bicubic filter, quantised, ImageNet's normalisation."""
    theirs = transforms.Compose(
        [
            transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    for shape in ((40, 32), (300, 500)):
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
        torch.testing.assert_close(transformed(image), theirs(image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_features_are_the_class_token_after_the_norm(tmp_path: Path, architecture: str) -> None:
    folder, images = save_dinov2(tmp_path, architecture), pictures(3, 0)
    network = timm.create_model(architecture, num_classes=0, img_size=224, **SMALL).eval()
    stored = load_file(folder / "model.safetensors")
    registers = "reg" in architecture
    network.load_state_dict(stored | {"pos_embed": resampled(stored["pos_embed"], 16, registers)})
    normed: list[torch.Tensor] = []
    network.norm.register_forward_hook(lambda *call: normed.append(call[-1]))
    with torch.inference_mode():
        network(torch.stack([transformed(Image.fromarray(i)) for i in images.permute(0, 2, 3, 1).numpy()]))
    tokens = normed[0]
    assert tokens.shape == (3, 1 + 4 * registers + 16 * 16, 24)
    actual = Extractor(f"path:{folder}").extract(images)["features"]
    assert (actual.shape, actual.dtype) == ((3, 24), np.float32)
    assert np.ptp(actual, axis=0).max() > 0.03, "the images differ to the network"
    np.testing.assert_allclose(actual, tokens[:, 0].numpy(), rtol=1e-5, atol=1e-5)


def cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys's cubic convolution kernel."""
    x = np.abs(x)
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def weights_of(registers: bool) -> np.ndarray:
    """Weights of the 37 old positions in each of 16 new ones along an axis, [16, 37]."""
    new, old = np.arange(16)[:, None], np.arange(37)
    if registers:  # torch's antialiased filter is PIL's: a = -1/2, widened by the scale, its weights summing to 1
        actual = cubic((old + 0.5 - (new + 0.5) * 37 / 16) / (37 / 16), -0.5)
        return np.asarray(actual / actual.sum(axis=1, keepdims=True))
    at = (new + 0.5) * 37 / 16.1 - 0.5  # the release's offset of 0.1; the plain filter has a = -3/4
    actual = np.zeros((16, 37))
    for tap in range(-2, 4):  # beyond the border, the outermost position again
        location = np.floor(at).astype(int) + tap
        np.add.at(actual, (new, np.clip(location, 0, 36)), cubic(at - location, -0.75))
    return actual


@pytest.mark.parametrize("registers", [False, True])
def test_positions_are_resampled_as_the_release_does(registers: bool) -> None:
    grid = torch.randn(1, 37 * 37, 2, generator=torch.Generator().manual_seed(0))
    first = torch.tensor([[[-7.0, 9.0]]])
    actual = resampled(torch.cat([first, grid], dim=1), 16, registers)
    assert actual.shape == (1, 1 + 256, 2)
    assert torch.equal(actual[:, :1], first), "the class token has no place on the grid"
    w = weights_of(registers)
    expected = np.einsum("ir,rcd,jc->ijd", w, grid.reshape(37, 37, 2).numpy(), w)
    np.testing.assert_allclose(actual[0, 1:].reshape(16, 16, 2).numpy(), expected, atol=1e-5)
    torch.testing.assert_close(resampled(grid, 16, registers), actual[:, 1:])


def test_positions_of_the_same_grid_are_left_alone() -> None:
    embedding = torch.randn(1, 1 + 256, 3)
    assert resampled(embedding, 16, False) is embedding


def test_a_row_depends_on_its_image_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor, images = Extractor(f"path:{save_dinov2(tmp_path)}"), pictures(5, 1)
    whole = extractor.extract(images)["features"]
    monkeypatch.setattr(dinov2, "BATCH", 2)
    np.testing.assert_allclose(extractor.extract(images)["features"], whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(extractor.extract(images[3:4])["features"], whole[3:4], rtol=1e-4, atol=1e-5)
    assert extractor.extract(images[:0])["features"].shape == (0, 24)


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, 3).byte(), torch.zeros(3, 8).byte()])
def test_what_is_no_batch_of_images(tmp_path: Path, images: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"images must be uint8 \[n, 3, h, w\], got torch"):
        Extractor(f"path:{save_dinov2(tmp_path)}").extract(images)


def test_a_network_in_the_hubs_cache_is_found_and_none_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("fetched unasked"))
    name = "vit_small_patch14_dinov2.lvd142m"
    with pytest.raises(Incompatible, match=rf"set `model: hub:timm/{name}` to download them, or `model: path:DIR`"):
        Extractor(name)
    repository = tmp_path / f"models--timm--{name}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a1")
    folder = save_dinov2(repository / "snapshots" / "a1")
    assert Extractor(name).digest == Extractor(f"path:{folder}").digest
    (folder / "model.safetensors").unlink()
    with pytest.raises(Incompatible, match="got none in the hub's cache"):
        Extractor(name)


def test_the_default_is_the_network_of_the_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Incompatible, match=r"the weights of vit_large_patch14_dinov2\.lvd142m"):
        Extractor()


def test_what_the_hub_cannot_give_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(repo: str, **options: object) -> str:
        assert (repo, options["revision"]) == ("owner/name", "v1")
        raise OSError("no route\nto the hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(Incompatible, match="fetch owner/name@v1 from the hub: no route; download it and use path:"):
        Extractor("hub:owner/name@v1")
    assert Extractor.hub_files == ("config.json", "model.safetensors"), "no pickle, no code"


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownName, match=r"DINOv2 network 'vit_smal.*did you mean 'vit_small_patch14_dinov2\.lvd142m'"
    ):
        Extractor("vit_smal_patch14_dinov2.lvd142m")
    with pytest.raises(ConfigError, match=r"no folder .*absent; give a folder with config\.json"):
        Extractor(f"path:{tmp_path / 'absent'}")
    folder = save_dinov2(tmp_path / "net")
    weights, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text())

    (folder / "config.json").write_text(json.dumps(config | {"architecture": "resnet18"}))
    with pytest.raises(UnknownName, match=r"unknown DINOv2 architecture of .*'resnet18'"):
        Extractor(f"path:{folder}")
    for arguments in ({"embed_dim": 32, "num_heads": 2}, {"no_such": 1}):
        (folder / "config.json").write_text(json.dumps(config | {"model_args": arguments}))
        with pytest.raises(ConfigError, match="must hold the weights of vit_small_patch14_dinov2: ") as caught:
            Extractor(f"path:{folder}")
        assert "\n" not in str(caught.value)
    (folder / "config.json").write_text(json.dumps(config))

    stored, whole = load_file(weights), weights.read_bytes()
    save_file({k: v for k, v in stored.items() if k != "pos_embed"}, weights)
    with pytest.raises(ConfigError, match="must hold the weights"):
        Extractor(f"path:{folder}")
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="must hold the weights"):
        Extractor(f"path:{folder}")
    weights.unlink()
    with pytest.raises(ConfigError, match=r"no file .*model\.safetensors; give a folder"):
        Extractor(f"path:{folder}")


def test_the_digest_follows_the_weights_and_the_architecture(tmp_path: Path) -> None:
    first, again = save_dinov2(tmp_path / "a"), save_dinov2(tmp_path / "b")
    another = save_dinov2(tmp_path / "c", seed=1)
    assert Extractor(f"path:{first}").digest == Extractor(f"path:{again}").digest != Extractor(f"path:{another}").digest
