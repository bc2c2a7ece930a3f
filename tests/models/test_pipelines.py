"""Unconditional pixel pipelines, saved by diffusers and read by name; and folders of pipelines that cannot be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline
from safetensors.torch import load_file, save_file

from bench.core.errors import BenchError, ConfigError, Incompatible, UnknownName
from bench.models import load_model
from bench.models.pretrained import SCHEDULE, SCHEDULERS, WEIGHTS
from bench.sampling.loop import Sampler
from methods.attribute_switching import Method as AttributeSwitching
from tests.support.pipelines import (
    H_SPACE,
    LINEAR,
    STEPS,
    assert_same_model,
    ddim_scheduler,
    ddpm_scheduler,
    noise_sources,
    quiet,
    rewrite,
    samples,
)
from tests.support.pipelines import tiny_unet as network


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline") / "ddpm"
    DDPMPipeline(network(), ddpm_scheduler()).save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "ddpm"))


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Samples equal what a pipeline gives as numbers in [0, 1], to 1e-5 in [-1, 1]; they differ from each other."""
    found = theirs.permute(0, 3, 1, 2) * 2 - 1
    assert float((ours.clamp(-1, 1) - found).abs().max()) <= 1e-5
    assert float((found - found[:1]).abs().max()) > 0.01


# --- the samples of the pipeline itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_samples_are_those_of_the_ddim_pipeline(tmp_path: Path, prediction: str, clip: bool) -> None:
    pipeline = DDIMPipeline(network(), ddim_scheduler(prediction_type=prediction, clip_sample=clip, beta_end=0.004))
    pipeline.save_pretrained(tmp_path / "ddim")
    model = load_model(f"path:{tmp_path / 'ddim'}")
    theirs = quiet(pipeline)(3, noise_sources(), num_inference_steps=STEPS, output_type="np").images
    close(samples(model), torch.from_numpy(theirs))


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_samples_are_those_of_the_ddpm_pipeline_with_its_own_noise(tmp_path: Path, variance: str) -> None:
    pipeline = DDPMPipeline(network(), ddpm_scheduler(variance_type=variance))
    pipeline.save_pretrained(tmp_path / "ddpm")
    model = load_model(f"path:{tmp_path / 'ddpm'}")
    theirs = quiet(pipeline)(3, noise_sources(), num_inference_steps=STEPS, output_type="np").images
    close(samples(model, Sampler("ddpm", STEPS)), torch.from_numpy(theirs))


def test_the_schedule_is_the_pipelines_own_and_what_its_file_leaves_out_its_classes_default(copy: Path) -> None:
    """As google/ddpm-celebahq-256: linear betas, epsilon, and no keys that came later."""
    schedule = copy / "scheduler" / SCHEDULE
    schedule.write_text(json.dumps({**LINEAR, "_class_name": "DDPMScheduler"}))
    model = load_model(f"path:{copy}")
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    assert torch.allclose(model.alphas_cumprod, (1 - betas).cumprod(0), rtol=1e-4)
    assert model.scheduler_config["prediction_type"] == "epsilon"
    assert model.scheduler_config["clip_sample"] is True
    schedule.write_text(json.dumps({**LINEAR, "_class_name": "PNDMScheduler"}))
    model = load_model(f"path:{copy}")
    assert model.scheduler_config["clip_sample"] is False  # that class never clips; DDIM's own default would
    assert model.scheduler_config["set_alpha_to_one"] is False


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_pipeline_saved_with_any_scheduler_of_betas_is_read(saved: Path, copy: Path, name: str) -> None:
    """Two of them have settings of their own sampler for which diffusers writes -Infinity; these are ignored."""
    getattr(diffusers, name)().save_config(copy / "scheduler")
    model = load_model(f"path:{copy}")
    assert "lambda_min_clipped" not in model.scheduler_config
    assert len(model.digest) == 64
    assert torch.isfinite(samples(model, Sampler("dpmsolver++", STEPS))).all()


def test_a_pipeline_without_folders_is_read_as_the_first_ones_are(saved: Path, copy: Path) -> None:
    for part, name in (("unet", "config.json"), ("unet", WEIGHTS), ("scheduler", SCHEDULE)):
        (copy / part / name).rename(copy / name)
    for part in ("unet", "scheduler"):
        (copy / part).rmdir()
    assert torch.equal(samples(load_model(f"path:{copy}")), samples(load_model(f"path:{saved}")))


def test_attention_under_the_names_of_the_first_papers_weights_is_read(saved: Path, copy: Path) -> None:
    weights = copy / "unet" / WEIGHTS
    state = load_file(weights)
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        state = {key.replace(new, old): value for key, value in state.items()}
    assert any("proj_attn" in key for key in state)
    save_file(state, weights, metadata={"format": "pt"})
    assert_same_model(load_model(f"path:{copy}"), load_model(f"path:{saved}"))


def test_a_learnt_variance_is_left_out(tmp_path: Path) -> None:
    """As guided-diffusion's networks, which give six channels: eps, then what says the variance."""
    networks = {"three": network(), "ones": network(out_channels=6), "twos": network(out_channels=6)}
    for name, variance in (("ones", 1.0), ("twos", 2.0)):
        state = networks["three"].state_dict()
        for key in ("conv_out.weight", "conv_out.bias"):
            state[key] = torch.cat([state[key], torch.full_like(state[key], variance)])
        networks[name].load_state_dict(state)
    drawn = {}
    for name, unet in networks.items():
        DDPMPipeline(unet, ddpm_scheduler()).save_pretrained(tmp_path / name)
        drawn[name] = samples(load_model(f"path:{tmp_path / name}"))
    assert torch.equal(drawn["ones"], drawn["twos"])
    # A convolution to six channels sums in another order: eps differs by 2e-7, x_0 by up to 17 times that (t = 750).
    assert float((drawn["three"] - drawn["ones"]).abs().max()) <= 1e-5


# --- methods -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", H_SPACE)
def test_h_space_methods_run_and_change_the_samples(saved: Path, method: Any) -> None:
    model = load_model(f"path:{saved}")
    found = samples(model, method=method)
    assert found.shape == (3, *model.shape)
    assert float((found - samples(model)).abs().max()) > 1e-3
    assert model.decode(found).shape == (3, 3, model.image_size, model.image_size)


def test_a_method_that_asks_for_classes_is_refused_with_the_reason(saved: Path) -> None:
    with pytest.raises(Incompatible, match="cannot be asked for pattern=rows; choose a model conditioned"):
        samples(load_model(f"path:{saved}"), method=AttributeSwitching())


# --- damage --------------------------------------------------------------------------------------------------------


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / name)


def pickles_only(folder: Path) -> None:
    (folder / "unet" / WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin")


def sharded_with_a_part_missing(folder: Path) -> None:
    pickles_only(folder)
    (folder / "unet" / f"{WEIGHTS}.index.json").write_text('{"weight_map": {"conv_in.bias": "part-1.safetensors"}}')


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (remove("unet"), ConfigError, r"no folder .*unet, which model_index.json names; copy the pipeline again"),
        (remove("scheduler"), ConfigError, r"no folder .*scheduler, which model_index.json names"),
        (
            pickles_only,
            ConfigError,
            "only safetensors are read, and only a pickle is there .*UNet2DModel.from_pretrained",
        ),
        (sharded_with_a_part_missing, ConfigError, r"no weights at .*part-1.safetensors; only safetensors"),
        (
            rewrite("model_index.json", _class_name="VoodooPipeline"),
            UnknownName,
            "unknown pipeline 'VoodooPipeline'; .*DDIM",
        ),
        (rewrite("model_index.json", _class_name=None), UnknownName, "unknown pipeline 'None'"),
        (
            rewrite(f"scheduler/{SCHEDULE}", _class_name="FlowMatchEulerDiscreteScheduler"),
            ConfigError,
            "scheduler FlowMatchEulerDiscreteScheduler is not supported; known: DDIMScheduler, ",
        ),
        (
            rewrite("unet/config.json", _class_name="UNet1DModel"),
            ConfigError,
            "must describe a UNet2DModel, got 'UNet1D",
        ),
    ],
)
def test_a_pipeline_that_cannot_be_read_is_refused_in_a_sentence(
    copy: Path, change: Callable[[Path], None], error: type[BenchError], message: str
) -> None:
    change(copy)
    with pytest.raises(error, match=message) as caught:
        load_model(f"path:{copy}")
    assert "\n" not in str(caught.value)


def test_a_field_that_a_family_does_not_have_is_refused(saved: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown field of model path:.* 'guidance_scale'"):
        load_model(f"path:{saved}", fields={"guidance_scale": 3.0})
