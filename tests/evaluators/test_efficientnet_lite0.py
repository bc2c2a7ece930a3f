"""The weights fit the architecture, images are resized as clean-fid does, rows are independent."""

import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
import timm
import torch
from cleanfid.resize import make_resizer

from bench.core.errors import ConfigError
from evaluators.efficientnet_lite0 import Extractor, fold_normalisation, match_in_order, resize


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor()


def batch_of(image: npt.NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None]


def noise(n: int, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_cat_is_a_cat_and_a_coffee_a_coffee(extractor: Extractor) -> None:
    """Photographs that ship inside scikit-image; one misplaced tensor would leave chance, 5 classes in 1000."""
    cat = extractor.classify(batch_of(skimage.data.chelsea()))[0]
    coffee = extractor.classify(batch_of(skimage.data.coffee()))[0]
    assert cat.argmax() in range(281, 286)  # tabby, tiger cat, Persian, Siamese, Egyptian
    assert {967, 968} & set(np.argsort(-coffee)[:5].tolist())  # espresso, cup


def test_features_are_those_the_classifier_reads(extractor: Extractor) -> None:
    image = batch_of(skimage.data.chelsea())
    features = Extractor(224).extract(image)["features"]
    layer = extractor._network.get_submodule("classifier")
    with torch.inference_mode():
        logits = layer(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(logits, extractor.classify(image), rtol=1e-4, atol=1e-4)


def test_folded_normalisation_computes_the_same() -> None:
    """With random moments, scales and shifts of every normalisation, so that one left out or misplaced shows."""
    g = torch.Generator().manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=7).eval().requires_grad_(False)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        for values, least in (
            (norm.running_mean, -0.5),
            (norm.running_var, 0.5),
            (norm.weight, 0.5),
            (norm.bias, -0.5),
        ):
            values.copy_(torch.rand(values.shape, generator=g) + least)
    images = torch.randn(3, 3, 64, 64, generator=g)
    expected = network(images)
    fold_normalisation(network)
    assert len(norms) == 49
    assert not [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("n", [0, 1, 65])
def test_shape_and_type(extractor: Extractor, n: int) -> None:
    images = noise(n)
    before = images.clone()
    features = extractor.extract(images)["features"]
    assert features.shape == (n, 1280)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert torch.equal(images, before)


def test_a_row_depends_on_its_image_alone(extractor: Extractor) -> None:
    images = noise(66)  # more than one batch
    whole = extractor.extract(images)["features"]
    parts = np.concatenate([extractor.extract(chunk)["features"] for chunk in torch.split(images, [1, 4, 61])])
    scale = np.abs(whole).max()
    np.testing.assert_allclose(parts, whole, atol=1e-5 * scale)
    assert np.abs(whole[0] - whole[1]).max() > 0.01 * scale  # different images do differ


@pytest.mark.parametrize("image_side", [32, 64, 300])
def test_resize_is_clean_fids(image_side: int) -> None:
    """Black and white noise, so that the filter overshoots and the clipping is seen."""
    images = (noise(2, image_side) > 127).to(torch.uint8) * 255
    theirs = make_resizer("PIL", False, "bicubic", (112, 112))
    expected = np.stack([theirs(image.permute(1, 2, 0).numpy()) for image in images]).transpose(0, 3, 1, 2)
    ours = resize(images, 112).numpy()
    np.testing.assert_allclose(ours, expected, atol=5e-3)  # of 255; float32 filter weights against PIL's double
    assert ours.min() == 0.0
    assert np.abs(ours - np.round(ours)).max() > 0.1  # not quantised


def test_resize_of_an_image_that_is_not_square() -> None:
    image = skimage.data.chelsea()
    expected = make_resizer("PIL", False, "bicubic", (112, 112))(image)
    np.testing.assert_allclose(resize(batch_of(image), 112)[0].permute(1, 2, 0).numpy(), expected, atol=5e-3)


def test_the_digest_names_the_size(extractor: Extractor) -> None:
    assert extractor.digest == Extractor().digest
    assert extractor.digest != Extractor(96).digest
    assert extractor.name == "efficientnet_lite0"


def test_mistakes_are_named(extractor: Extractor) -> None:
    with pytest.raises(ConfigError, match="uint8"):
        extractor.extract(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ConfigError, match="uint8"):
        extractor.extract(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="32 or more"):
        Extractor(16)


def test_tensors_that_do_not_fit_are_refused() -> None:
    expected = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(2)}
    stored = {"b.weight": torch.ones(2), "b.bias": torch.zeros(2)}
    assert match_in_order(stored, expected)["a.weight"] is stored["b.weight"]
    with pytest.raises(ConfigError, match="2 tensors, got 1"):
        match_in_order({"b.weight": torch.zeros(2)}, expected)
    with pytest.raises(ConfigError, match=r"a\.bias must have shape \[2\]"):
        match_in_order({"b.weight": torch.zeros(2), "b.bias": torch.zeros(3)}, expected)
    with pytest.raises(ConfigError, match=r"got b\.bias"):
        match_in_order({"b.bias": torch.zeros(2), "b.weight": torch.zeros(2)}, expected)
