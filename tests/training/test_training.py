"""Training can stop at any step and go on as if it had not, and says what is wrong when it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.errors import ConfigError
from bench.storage.fits import FileCheckpoint
from bench.training.loop import Budget, summary, train
from bench.training.score_matching import prediction_target

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

    losses = train(module, loss, budget, FileCheckpoint(checkpoint), "test")
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
    checkpoint = str(tmp_path / "c.pt")
    code = (
        f"from tests.training import test_training as t; from pathlib import Path; t.run(Path({checkpoint!r}), 5, True)"
    )
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

    losses = train(
        module, loss, Budget(200, 0.05, 0.9, seed=1, checkpoint_minutes=9), FileCheckpoint(tmp_path / "c.pt"), "test"
    )
    assert np.mean(losses[-20:]) < 0.1 * np.mean(losses[:20])
    record = summary(losses)
    assert record["steps"] == 200
    assert record["final_loss"] == pytest.approx(np.mean(losses[-100:]), abs=1e-6)
    module = network()
    other = train(
        module, loss, Budget(2, 0.05, 0.9, seed=2, checkpoint_minutes=9), FileCheckpoint(tmp_path / "d.pt"), "test"
    )
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
        train(module, loss, Budget(9, 0.1, 0, 0, ALWAYS), FileCheckpoint(tmp_path / "c.pt"), "test")
    assert len(torch.load(tmp_path / "c.pt", weights_only=True)["losses"]) == 3, "the last good step is kept"


def test_a_checkpoint_of_another_architecture(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path / "c.pt", stop_at=2)
    module = network(width=6)
    with pytest.raises(ConfigError, match=r"cannot resume from .*c\.pt: .*; delete it to start again"):
        train(module, lambda _g: module.sum(), Budget(9, 0.1, 0, 0, 1), FileCheckpoint(tmp_path / "c.pt"), "test")


@pytest.mark.parametrize("data", [b"", b"no checkpoint", None], ids=["empty", "text", "cut short"])
def test_a_damaged_checkpoint(tmp_path, data):
    with pytest.raises(Interrupted):
        run(tmp_path / "c.pt", stop_at=2)
    (tmp_path / "c.pt").write_bytes((tmp_path / "c.pt").read_bytes()[:900] if data is None else data)
    with pytest.raises(ConfigError, match="delete it to start again"):
        run(tmp_path / "c.pt")


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

        train(module, loss, Budget(30, 0.5, ema, 0, 9), FileCheckpoint(tmp_path / f"{ema}.pt"), "test")
        return [*seen, module.w.item()]

    path = weights(0.0)
    averaged = weights(0.5)
    assert averaged[:-1] == path[:-1]
    decay = np.minimum(0.5, (1 + np.arange(30)) / (10 + np.arange(30)))
    left = np.append(np.cumprod(decay[::-1])[::-1], 1.0)  # left[k] = d_k d_{k+1} ... d_29
    wanted = left[0] * path[0] + sum((1 - decay[k]) * left[k + 1] * path[k + 1] for k in range(30))
    assert averaged[-1] == pytest.approx(wanted, rel=1e-12)
    assert averaged[-1] != pytest.approx(path[-1], rel=1e-4)


def test_targets_and_their_inverses():
    g = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 4, 1, 2, 2, generator=g, dtype=torch.float64)
    a = torch.tensor([1.0, 0.7, 0.2, 0.0], dtype=torch.float64).reshape(4, 1, 1, 1)
    x = a.sqrt() * x0 + (1 - a).sqrt() * eps
    v = prediction_target("v_prediction", x0, eps, a)
    torch.testing.assert_close(a.sqrt() * x - (1 - a).sqrt() * v, x0)
    torch.testing.assert_close((1 - a).sqrt() * x + a.sqrt() * v, eps)
    assert prediction_target("epsilon", x0, eps, a) is eps
    assert prediction_target("sample", x0, eps, a) is x0
