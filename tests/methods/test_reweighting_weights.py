"""Networks of the reweighting family are trained once, kept, shipped, taken up again, and refused with a reason."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.config.build import build_method
from bench.core.errors import ConfigError, Incompatible
from bench.models.mixture import SCHEDULER, GaussianMixture
from bench.protocols.counting import Counted
from bench.protocols.method import Task
from bench.storage.files import MANIFEST, read_arrays
from bench.storage.fits import FitCache
from methods.reweighting import trainer
from methods.reweighting.pool import Pool
from methods.reweighting.settings import FineTuning, Settings
from tests.support.mixtures import labelled, pictures
from tests.support.pools import METHODS, TINY, look, method, picture_task

every_method = pytest.mark.parametrize("name", list(METHODS))

# --- what is kept --------------------------------------------------------------------------------------------------


def forbid_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr(trainer, "train", refuse)


def folders(cache: Path) -> list[Path]:
    return sorted(path for path in cache.glob("*/*") if path.is_dir())


def test_weights_are_plotted_as_they_were_noted(tmp_path: Path) -> None:
    task = picture_task(tmp_path)
    timed, clean = (method(name).build(task, 0) for name in ("tiw_dsm", "iw_dsm"))
    assert [len(g.curves) for g in (timed, clean)] == [2, 1], "a weight that knows no time has none to plot over"
    spread, by_time = timed.curves
    noted = timed.notes["weights"]
    assert spread.x == list(noted["quantiles"])
    assert spread.lines == {"observed images": noted["observed"][0], "reference images": noted["reference"][0]}
    assert all(line == sorted(line) for line in spread.lines.values()), "a quantile function rises"
    assert by_time.x == list(noted["timesteps"])
    assert by_time.lines["observed, quantile 0.5"] == [row[2] for row in noted["observed"]]
    assert len(by_time.lines) == 6
    assert method("dsm_ref").build(task, 0).curves == ()


@every_method
def test_what_is_cached_is_not_trained_again_and_reports_what_it_cost(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = picture_task(tmp_path)
    first = method(name).build(task, 0)
    assert first.cost.seconds > 0
    json.dumps(first.notes)
    forbid_training(monkeypatch)
    again = method(name).build(task, 1)  # a cell's seed is of its noise alone
    assert torch.equal(look(first), look(again))
    assert again.cost == first.cost
    assert again.notes == first.notes
    assert not list(tmp_path.glob("*.pt")), "no checkpoint is left"


@every_method
def test_without_a_cache_the_same_network_is_trained(name: str, tmp_path: Path) -> None:
    kept, not_kept = method(name).build(picture_task(tmp_path), 0), method(name).build(picture_task(), 0)
    assert torch.equal(look(kept), look(not_kept))
    assert {**(kept.notes or {}), "discriminator_cost": 0} == {**(not_kept.notes or {}), "discriminator_cost": 0}


@every_method
def test_a_shipped_folder_is_a_copy_of_a_cached_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = method(name).build(picture_task(tmp_path / "cache"), 0)
    shipped = tmp_path / "shipped"
    recipes = {json.loads((f / MANIFEST).read_text())["note"]["recipe"]["what"]: f for f in folders(tmp_path / "cache")}
    shutil.copytree(recipes[name], shipped / "reweighting" / "any name")
    (shipped / "reweighting" / "no network").mkdir()
    forbid_training(monkeypatch)
    other = tmp_path / "other"
    guided = method(name).build(picture_task(other, shipped), 0)
    assert torch.equal(look(trained), look(guided))
    assert guided.cost == trained.cost
    assert guided.notes == trained.notes
    assert not other.exists(), "nothing needs to be kept"
    with pytest.raises(AssertionError, match="something was trained"):
        method(name, reference_frac=0.3).build(picture_task(other, shipped), 0)


def test_a_damaged_folder_is_trained_again(tmp_path: Path) -> None:
    first = method("dsm_ref").build(picture_task(tmp_path), 0)
    (folder,) = folders(tmp_path)
    data = bytearray((folder / "weights.npy").read_bytes())
    data[-1] ^= 1
    (folder / "weights.npy").write_bytes(data)
    assert torch.equal(look(first), look(method("dsm_ref").build(picture_task(tmp_path), 0)))


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("name", ["tiw_dsm", "iw_dsm"])
@pytest.mark.parametrize("calls", [2, 4, 10, -3])
def test_an_interrupted_build_goes_on_where_it_stopped(
    name: str, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the discriminator's training, at its end, while its weights are looked at, and in the score network's."""
    wanted = method(name).build(picture_task(tmp_path / "unbroken"), 0)
    looks = 2 * (6 if name == "tiw_dsm" else 1)
    stop = calls if calls >= 0 else TINY.discriminator_steps + looks + TINY.steps + calls
    if name == "iw_dsm" and calls == 10:
        stop = TINY.discriminator_steps + 1
    clean, made = Pool.clean, 0

    def interrupted(self: Pool, *arguments: object) -> Tensor:
        nonlocal made
        made += 1
        if made == stop + 1:
            raise Interrupted
        return clean(self, *arguments)

    monkeypatch.setattr(Pool, "clean", interrupted)
    with pytest.raises(Interrupted):
        method(name).build(picture_task(tmp_path / "broken"), 0)
    made = stop + 1  # from here on it only counts
    guided = method(name).build(picture_task(tmp_path / "broken"), 0)
    total = TINY.discriminator_steps + looks + TINY.steps
    if calls == -3:
        assert made - stop - 1 == 3, "the steps that were missing, and no others"
    assert made - stop - 1 <= total - min(stop, TINY.discriminator_steps) + 1
    assert torch.equal(look(guided), look(wanted))
    for one, two in zip(folders(tmp_path / "broken"), folders(tmp_path / "unbroken"), strict=True):
        assert one.name == two.name
        assert np.array_equal(read_arrays(one)["weights"], read_arrays(two)["weights"])
    assert guided.cost.forward_rows == wanted.cost.forward_rows
    assert guided.cost.backward_rows == wanted.cost.backward_rows
    assert not list((tmp_path / "broken").glob("*.pt"))


def test_methods_that_share_a_discriminator_train_it_once(tmp_path: Path) -> None:
    task = picture_task(tmp_path)
    seen = [look(method("tiw_dsm", variant=v).build(task, 0)) for v in ("full", "weight_only", "correction_only")]
    seen.append(look(method("tiw_dsm", reading="disjoint").build(task, 0)))
    seen.append(look(method("tiw_dsm", formula="released").build(task, 0)))
    assert len(folders(tmp_path)) == 5 + 1
    for i, one in enumerate(seen):
        assert not any(torch.allclose(one, other) for other in seen[:i]), "every field changes what is learnt"


def test_the_key_holds_all_that_decides_the_weights(tmp_path: Path) -> None:
    def trained(task: Task, **fields: object) -> int:
        method("dsm_obs", **fields).build(dataclasses.replace(task, cache=FitCache(tmp_path)), 0)
        return len(folders(tmp_path))

    base = picture_task()
    assert trained(base) == 1
    assert trained(base, training=dataclasses.replace(TINY, checkpoint_minutes=5.0, discriminator_steps=9)) == 1
    assert trained(base, training=dataclasses.replace(TINY, seed=1)) == 2
    assert trained(base, training=dataclasses.replace(TINY, steps=7)) == 3
    assert trained(base, reference_frac=0.1) == 4
    other = labelled(pictures(), 200, 3)
    assert trained(dataclasses.replace(base, observed=other)) == 5
    assert trained(dataclasses.replace(base, unbiased=other)) == 6
    means, spread = np.stack([np.full(12, -0.4), np.full(12, 0.4)]), np.stack([0.02 * np.eye(12)] * 2)
    slower = {**SCHEDULER, "rescale_betas_zero_snr": False}
    model = GaussianMixture((0.8, 0.2), means, spread, (3, 2, 2), slower)
    assert trained(dataclasses.replace(base, model=model)) == 7
    assert trained(dataclasses.replace(base, model=pictures((0.3, 0.7)))) == 7, "the model's own weights play no part"


ROWS: dict[str, Callable[[Settings], tuple[int, int]]] = {  # forward and backward rows of a build
    "tiw_dsm": lambda s: (s.batch * (s.discriminator_steps + 2 * s.steps),) * 2,
    "iw_dsm": lambda s: (
        s.batch * (s.discriminator_steps + 2 * s.steps),
        s.batch * (s.discriminator_steps + s.steps),
    ),
    "dsm_ref": lambda s: (s.batch * s.steps,) * 2,
    "dsm_obs": lambda s: (s.batch * s.steps,) * 2,
    "dsm_halves": lambda s: (s.batch * s.steps,) * 2,
}


@every_method
def test_the_rows_of_training_and_of_sampling_are_counted(name: str) -> None:
    model = Counted(pictures())
    guided = method(name).build(picture_task(model=model), 0)
    assert (guided.cost.forward_rows, guided.cost.backward_rows) == ROWS[name](TINY)
    assert model.counts.forward_rows == 0, "the model itself plays no part in training"
    look(guided)
    assert model.counts.forward_rows == 3 * 5
    assert model.counts.backward_rows == 0


# --- refusals ------------------------------------------------------------------------------------------------------


@every_method
def test_sets_that_are_missing_or_too_small_are_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(Incompatible, match="no observed images to train on; add `observed: NAME`"):
        method(name).build(picture_task(observed=None), 0)
    with pytest.raises(Incompatible, match=r"no unbiased set .*; add `unbiased: NAME`"):
        method(name).build(picture_task(unbiased=None), 0)
    with pytest.raises(
        Incompatible, match=r"0\.6 of 200 observed images asks for 120 of the 100 unbiased ones; choose"
    ):
        method(name, reference_frac=0.6).build(picture_task(), 0)
    with pytest.raises(Incompatible, match="asks for 0 of the 100"):
        method(name, reference_frac=0.001).build(picture_task(), 0)


@every_method
@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(name: str, fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"reference_frac must be in \(0, 1\], got"):
        method(name, reference_frac=fraction)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "training.steps must be at least 1, got 0"),
        ({"discriminator_steps": 0}, "training.discriminator_steps must be at least 1, got 0"),
        ({"batch": 7}, "training.batch must be even and at least 2, got 7"),
        ({"peak_lr": 0.0}, "training.peak_lr must be > 0, got 0.0"),
        ({"discriminator_lr": float("nan")}, "training.discriminator_lr must be > 0, got nan"),
        ({"ema": 1.0}, r"training.ema must be in \[0, 1\), got 1.0"),
        ({"channels": (12,)}, r"training.channels must be one multiple of 8 or more, got \[12\]"),
        ({"discriminator_channels": ()}, r"training.discriminator_channels must be one number > 0 or more, got \[\]"),
        ({"seed": -1}, "training.seed must be at least 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "fine_tuning.steps must be at least 1, got 0"),
        ({"peak_lr": float("inf")}, "fine_tuning.peak_lr must be > 0, got inf"),
        ({"ema": -0.1}, r"fine_tuning.ema must be in \[0, 1\), got -0.1"),
        ({"rank": -1}, "fine_tuning.rank must be at least 0, got -1"),
    ],
)
def test_fine_tuning_out_of_range_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FineTuning(**fields)


def test_a_suite_gives_settings_as_a_mapping_and_its_mistakes_are_named() -> None:
    built = build_method("tiw_dsm", {"reading": "disjoint", "training": {"steps": 9, "channels": [16, 32]}})
    assert built.training == Settings(steps=9, channels=(16, 32))
    assert (built.init, built.fine_tuning) == ("model", FineTuning())
    assert build_method("tiw_dsm", json.loads(json.dumps(dataclasses.asdict(built)))) == built
    with pytest.raises(ConfigError, match=r"method tiw_dsm: training\.stepz: .*, got 9"):
        build_method("tiw_dsm", {"training": {"stepz": 9}})
    with pytest.raises(ConfigError, match=r"method tiw_dsm: variant: .*'full'.*, got 'half'"):
        build_method("tiw_dsm", {"variant": "half"})
    with pytest.raises(ConfigError, match=r"training\.steps must be at least 1, got 0"):
        build_method("dsm_obs", {"training": {"steps": 0}})
    with pytest.raises(ConfigError, match=r"method dsm_ref: init: .*'model' or 'scratch', got 'modell'"):
        build_method("dsm_ref", {"init": "modell"})
    with pytest.raises(ConfigError, match=r"method iw_dsm: fine_tuning\.channels: .*"):
        build_method("iw_dsm", {"fine_tuning": {"channels": [16]}})
