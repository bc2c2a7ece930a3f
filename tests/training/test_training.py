"""Training can stop at any step and go on as if it had not, and says what is wrong when it cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bench.training.classifier
from bench.assets import asset_folder, list_assets
from bench.core.errors import ConfigError
from bench.data import load_data
from bench.training import RECORD, train_recipe
from bench.training.classifier import augment, confusion, shifted
from bench.training.loop import Budget, summary, train, train_cycles
from bench.training.recipe import Training, read_recipe
from bench.training.score_model import condition_names, target
from evaluators import attribute_resnet

STEPS = 12
ALWAYS = 1e-9  # minutes: a checkpoint after every step


class Interrupted(Exception):
    pass


def network(width: int = 5) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))


def run(
    checkpoint: Path, stop_at: int | None = None, kill: bool = False
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train the small network, breaking off inside the loss of step `stop_at`."""
    module = network()
    budget = Budget(STEPS, 0.05, 0.9, seed=7, checkpoint_minutes=ALWAYS)
    calls = 0

    def loss(g: torch.Generator) -> torch.Tensor:
        nonlocal calls
        if calls == stop_at:
            if kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Interrupted
        calls += 1
        x = torch.randn(8, 4, generator=g)
        return (module(x) - x.sum(1, keepdim=True)).square().mean()

    losses = train(module, loss, budget, checkpoint, "test")
    return losses, module.state_dict()


def assert_same(found, wanted):
    assert found[0] == wanted[0]
    assert found[1].keys() == wanted[1].keys()
    for name, value in wanted[1].items():
        assert torch.equal(found[1][name], value), name


@pytest.mark.parametrize("step", [1, 6, STEPS - 1])
def test_a_resumed_run_repeats_an_unbroken_one_bit_for_bit(tmp_path, step):
    wanted = run(tmp_path / "unbroken.pt")
    with pytest.raises(Interrupted):
        run(tmp_path / "c.pt", stop_at=step)
    assert (tmp_path / "c.pt").is_file()
    assert_same(run(tmp_path / "c.pt"), wanted)


def test_two_interruptions(tmp_path):
    for calls in (3, 4):
        with pytest.raises(Interrupted):
            run(tmp_path / "c.pt", stop_at=calls)
    assert_same(run(tmp_path / "c.pt"), run(tmp_path / "unbroken.pt"))


def test_a_killed_run_resumes(tmp_path):
    code = f"from tests.training import test_training; from pathlib import Path; test_training.run(Path({str(tmp_path / 'c.pt')!r}), 5, True)"
    path = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == ["c.pt"]
    assert_same(run(tmp_path / "c.pt"), run(tmp_path / "unbroken.pt"))


def test_training_lowers_the_loss_and_depends_on_the_seed(tmp_path):
    module = network()

    def loss(g: torch.Generator) -> torch.Tensor:
        x = torch.randn(32, 4, generator=g)
        return (module(x) - x[:, :1]).square().mean()

    losses = train(module, loss, Budget(200, 0.05, 0.9, seed=1, checkpoint_minutes=9), tmp_path / "c.pt", "test")
    assert np.mean(losses[-20:]) < 0.1 * np.mean(losses[:20])
    record = summary(losses)
    assert record["steps"] == 200
    assert record["final_loss"] == pytest.approx(np.mean(losses[-100:]), abs=1e-6)
    module = network()
    other = train(module, loss, Budget(2, 0.05, 0.9, seed=2, checkpoint_minutes=9), tmp_path / "d.pt", "test")
    assert other[0] != losses[0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, bad):
    module = nn.Linear(1, 1)
    calls = 0

    def loss(_g: torch.Generator) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return module.weight.sum() * (bad if calls == 4 else 1.0)

    with pytest.raises(ConfigError, match=rf"the loss of test is -?{bad} at step 3; lower peak_lr or check the data"):
        train(module, loss, Budget(9, 0.1, 0, 0, ALWAYS), tmp_path / "c.pt", "test")
    assert len(torch.load(tmp_path / "c.pt", weights_only=True)["losses"]) == 3, "the last good step is kept"


def test_a_checkpoint_of_another_architecture(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path / "c.pt", stop_at=2)
    module = network(width=6)
    with pytest.raises(ConfigError, match=r"cannot resume from .*c\.pt: .*; delete it to start again"):
        train(module, lambda _g: module.sum(), Budget(9, 0.1, 0, 0, 1), tmp_path / "c.pt", "test")


@pytest.mark.parametrize("data", [b"", b"no checkpoint", None], ids=["empty", "text", "cut short"])
def test_a_damaged_checkpoint(tmp_path, data):
    with pytest.raises(Interrupted):
        run(tmp_path / "c.pt", stop_at=2)
    (tmp_path / "c.pt").write_bytes((tmp_path / "c.pt").read_bytes()[:900] if data is None else data)
    with pytest.raises(ConfigError, match="delete it to start again"):
        run(tmp_path / "c.pt")


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


class Scalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))


def test_average_weights_closed_form(tmp_path):
    # a_{k+1} = d_k a_k + (1 - d_k) w_{k+1} with d_k = min(ema, (1 + k) / (10 + k)), a_0 = w_0; the path of w is the
    # same whatever the decay, so a run with decay 0 gives its end.
    def weights(ema: float) -> list[float]:
        module, seen = Scalar(), []

        def loss(_g: torch.Generator) -> torch.Tensor:
            seen.append(module.w.item())
            return (module.w - 5).square()

        train(module, loss, Budget(30, 0.5, ema, 0, 9), tmp_path / f"{ema}.pt", "test")
        return [*seen, module.w.item()]

    path = weights(0.0)
    averaged = weights(0.5)
    assert averaged[:-1] == path[:-1]
    decay = np.minimum(0.5, (1 + np.arange(30)) / (10 + np.arange(30)))
    left = np.append(np.cumprod(decay[::-1])[::-1], 1.0)  # left[k] = d_k d_{k+1} ... d_29
    wanted = left[0] * path[0] + sum((1 - decay[k]) * left[k + 1] * path[k + 1] for k in range(30))
    assert averaged[-1] == pytest.approx(wanted, rel=1e-12)
    assert averaged[-1] != pytest.approx(path[-1], rel=1e-4)


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
        patch.setattr(bench.training.classifier, "augment", breaks)
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


def test_targets_and_their_inverses():
    g = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 4, 1, 2, 2, generator=g, dtype=torch.float64)
    a = torch.tensor([1.0, 0.7, 0.2, 0.0], dtype=torch.float64).reshape(4, 1, 1, 1)
    x = a.sqrt() * x0 + (1 - a).sqrt() * eps
    v = target("v_prediction", x0, eps, a)
    torch.testing.assert_close(a.sqrt() * x - (1 - a).sqrt() * v, x0)
    torch.testing.assert_close((1 - a).sqrt() * x + a.sqrt() * v, eps)
    assert target("epsilon", x0, eps, a) is eps
    assert target("sample", x0, eps, a) is x0


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
