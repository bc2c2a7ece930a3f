"""Training from recipes can stop at any step and resume, writes what is needed, and refuses what it cannot train."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from torch import nn

import bench.recipes.classifier
from bench.assets import asset_folder, list_assets
from bench.core.errors import ConfigError
from bench.data import load_data
from bench.recipes.classifier import augment, confusion, shifted
from bench.recipes.cycles import train_cycles
from bench.recipes.recipe import Training, read_recipe
from bench.recipes.score_model import condition_names
from bench.recipes.train import RECORD, train_recipe
from evaluators import attribute_resnet


class Interrupted(Exception):
    pass


class Scalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))


def test_a_cycle_starts_from_the_averaged_weights_of_the_one_before(tmp_path):
    # With the loss (w - 5)^2 and no momentum left over, the second cycle's first step starts at the first's average.
    def weights(steps: int | list[int], folder: str) -> tuple[list[float], float]:
        module, seen = Scalar(), []

        def loss(_g: torch.Generator) -> torch.Tensor:
            seen.append(module.w.item())
            return (module.w - 5).square()

        training = Training(steps=steps, batch=1, peak_lr=0.5, ema=0.5)
        (tmp_path / folder).mkdir(exist_ok=True)
        losses = train_cycles(module, loss, training.budgets(), tmp_path / folder / "c.pt", "test")
        assert losses == pytest.approx([(w - 5) ** 2 for w in seen])
        return seen, module.w.item()

    path, end = weights(6, "one")
    both, _ = weights([6, 4], "two")
    assert both[:6] == path
    assert both[6] == end
    assert len(both) == 10
    assert [b.seed for b in Training(steps=[6, 4], seed=3).budgets()] == [3, 4]


def test_a_finished_cycle_is_not_trained_again(tmp_path):
    def run(breaks_at: int | None) -> tuple[int, float]:
        module, n = Scalar(), 0

        def loss(_g: torch.Generator) -> torch.Tensor:
            nonlocal n
            n += 1
            if n == breaks_at:
                raise KeyboardInterrupt
            return (module.w - 5).square()

        budgets = Training(steps=[6, 4], batch=1, peak_lr=0.5, ema=0.5).budgets()
        train_cycles(module, loss, budgets, tmp_path / f"{breaks_at is None}.pt", "test")
        return n, module.w.item()

    _, unbroken = run(None)
    (tmp_path / "True.pt").rename(tmp_path / "kept.pt")
    (tmp_path / "True-1.pt").unlink()
    with pytest.raises(KeyboardInterrupt):
        run(breaks_at=8)
    (tmp_path / "False.pt").rename(tmp_path / "True.pt")
    assert run(None) == (4, unbroken)


RECIPE = """\
recipe:
  kind: classifier
  data: {name: avatars-labelled, n: 48, size: 16}
  heldout: {name: avatars-heldout, n: 24, size: 16}
  training: {steps: 4, batch: 8, checkpoint_minutes: 1.0e-9}
  widths: [8, 12]
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def test_train_recipe_leaves_everything_that_is_needed(tmp_path, recipe):
    folder = tmp_path / "new" / "model"
    record = train_recipe(recipe, folder)
    assert sorted(os.listdir(folder)) == ["config.json", "heldout.json", "model.safetensors", "recipe.yaml", RECORD]
    assert json.loads((folder / RECORD).read_text()) == record
    assert (folder / "recipe.yaml").read_text() == RECIPE
    assert record["recipe"]["widths"] == [8, 12]
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert record["result"]["data_sha256"] == load_data("avatars-labelled", 48, 16).digest
    assert record["result"]["heldout_accuracy"].keys() == {"eyeglasses", "skin_tone", "facial_hair"}
    assert str(tmp_path) not in json.dumps(record), "no path of this machine"
    measured = json.loads((folder / "heldout.json").read_text())
    for values in measured["attributes"].values():
        assert np.sum(values["confusion"]) == 24
        assert values["accuracy"] == pytest.approx(np.trace(values["confusion"]) / 24)


def test_a_recipe_names_its_architecture(tmp_path, recipe):
    """And one that does not means the first, in records as in recipes."""
    assert "network" not in train_recipe(recipe, tmp_path / "first")["recipe"]
    recipe.write_text(RECIPE.replace("kind: classifier", "kind: classifier\n  network: resnet"))
    record = train_recipe(recipe, tmp_path / "second")
    assert record["recipe"]["network"] == "resnet"
    assert json.loads((tmp_path / "second" / "config.json").read_text())["network"] == "resnet"
    assert attribute_resnet.Extractor(tmp_path / "second").network.widths == (8, 12)
    recipe.write_text(RECIPE.replace("kind: classifier", "kind: classifier\n  network: transformer"))
    with pytest.raises(ConfigError, match="network"):
        train_recipe(recipe, tmp_path / "third")


@pytest.mark.parametrize("name", list_assets("classifier"))
def test_a_shipped_classifier_was_trained_from_the_recipe_beside_it(name):
    folder = asset_folder(name)
    record = json.loads((folder / RECORD).read_text())
    assert record["finished"]
    assert record["recipe"] == read_recipe(folder / "recipe.yaml").model_dump(mode="json")


def test_train_recipe_resumes_to_the_same_weights(tmp_path, recipe, monkeypatch):
    train_recipe(recipe, tmp_path / "unbroken")
    calls = 0

    def breaks(*arguments: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Interrupted
        return augment(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(bench.recipes.classifier, "augment", breaks)
        with pytest.raises(Interrupted):
            train_recipe(recipe, tmp_path / "broken")
    assert (tmp_path / "broken" / "checkpoint.pt").is_file()
    train_recipe(recipe, tmp_path / "broken")
    for name in ("model.safetensors", "heldout.json", RECORD):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
    assert not (tmp_path / "broken" / "checkpoint.pt").exists()


def test_a_finished_folder_is_left_alone_unless_forced(tmp_path, recipe, monkeypatch):
    record = train_recipe(recipe, tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    before = weights.stat().st_mtime_ns, weights.read_bytes()
    assert train_recipe(recipe, tmp_path / "m") == record
    assert weights.stat().st_mtime_ns == before[0]
    recipe.write_text(RECIPE.replace("steps: 4", "steps: 5"))
    with pytest.raises(ConfigError, match="holds a training of another recipe; choose another folder or force"):
        train_recipe(recipe, tmp_path / "m")
    assert weights.stat().st_mtime_ns == before[0]
    assert train_recipe(recipe, tmp_path / "m", force=True)["result"]["steps"] == 5
    assert weights.read_bytes() != before[1]


def test_shifted_moves_each_row_by_its_own_offset():
    x = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    y = shifted(x, torch.tensor([[1, -2], [0, 0]]))
    assert torch.equal(y[1], x[1])
    assert torch.equal(y[0, :, 1:, :3], x[0, :, :-1, 2:])
    assert torch.equal(y[0, :, 0], y[0, :, 1]), "the border is repeated"
    assert torch.equal(y[0, :, 1:, 4], x[0, :, :-1, 4])


def test_augmentation_is_small_and_repeats_from_its_generator():
    x = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    one, two = (augment(x, 0, False, torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(one, two)
    flat = augment(torch.full((64, 3, 8, 8), 0.5), 2, True, torch.Generator().manual_seed(3))
    means = flat.mean((2, 3))
    assert (means - 0.5).abs().max() < 0.1, "the tint stays small"
    assert means.std() > 0.01, "and differs from row to row"


def test_confusion_has_true_classes_as_rows():
    assert confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_condition_names_begin_with_nothing_asked():
    names = condition_names(load_data("avatars-heldout", 1, 16).attributes)
    assert names[:3] == ("none", "eyeglasses=absent", "eyeglasses=present")
    assert len(names) == 8


SCORE_RECIPE = """\
recipe:
  kind: score_model
  data: {name: avatars-biased, n: 16, size: 16}
  block: 2
  training: {steps: 2, batch: 4}
  unet: {block_out_channels: [8, 8], layers_per_block: 1, norm_num_groups: 4,
         down_block_types: [DownBlock2D, DownBlock2D], up_block_types: [UpBlock2D, UpBlock2D]}
  scheduler: {num_train_timesteps: 20, prediction_type: v_prediction}
"""


def test_a_score_model_can_be_trained_and_loaded(tmp_path):
    from bench.models.unet import load_unet

    (tmp_path / "score.yaml").write_text(SCORE_RECIPE)
    record = train_recipe(tmp_path / "score.yaml", tmp_path / "m")
    assert record["result"]["steps"] == 2
    model = load_unet(tmp_path / "m")
    assert model.shape == (3, 16, 16)
    assert model.prediction == "v_prediction"
    assert len(model.conditions) == 8
    x = torch.zeros(2, 3, 16, 16)
    assert model.denoise(x, torch.tensor([0, 19]), torch.tensor([0, 7])).isfinite().all()
