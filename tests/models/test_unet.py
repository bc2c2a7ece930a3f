"""The pixel U-Net adapter against diffusers' own network and schedulers, and its folder on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

from bench.core.errors import ConfigError
from bench.models.mixture import SCHEDULER
from bench.models.pretrained import WEIGHTS
from bench.models.unet import CONDITIONS, PixelUNet, load_unet
from bench.protocols.method import Batch, Task
from bench.sampling.loop import Sampler, draw_noise, generators, sample_batch
from methods.vanilla import Method as Vanilla
from tests.support.small import save_tiny_unet

# Betas so small that sqrt(a_t) stays above 0.3: an untrained network's x_0 would be hundreds where it is tiny.
LINEAR = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.004}
LINEAR |= {"timestep_spacing": "leading", "set_alpha_to_one": False}


def network(channels: int = 12, **changes: Any) -> UNet2DModel:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": (32, 32),
        "layers_per_block": 1,
        "norm_num_groups": 8,  # with one channel a group the normalisation would remove t and the class
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        **changes,
    }
    return UNet2DModel(**arguments).eval().requires_grad_(False)


def tiny(prediction: str = "v_prediction", channels: int = 12, **changes: Any) -> PixelUNet:
    schedule = LINEAR if prediction == "epsilon" else SCHEDULER
    return PixelUNet(network(channels, **changes), {**schedule, "prediction_type": prediction})


def inputs(model: PixelUNet, n: int = 3, t: int = 500) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = draw_noise(generators(0, torch.arange(n)), model)
    return x, torch.full((n,), t), torch.zeros(n, dtype=torch.long)


# --- the sampling loop beside a bare one ---------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_samples_are_those_of_the_bare_network_under_diffusers_own_scheduler(prediction: str, clip: bool) -> None:
    schedule = LINEAR if prediction == "epsilon" else SCHEDULER
    config = {**schedule, "prediction_type": prediction, "clip_sample": clip}
    model = PixelUNet(network(channels=3), config)
    batch = Batch(torch.arange(3), torch.zeros(3, dtype=torch.long), 3)
    guided = Vanilla().build(Task(model, (), np.ones(1), ()), 0)
    ours = sample_batch(model, guided.denoise, Sampler("ddim", 8), batch, seed=5)
    scheduler = DDIMScheduler(**config)
    scheduler.set_timesteps(8)
    x = draw_noise(generators(5, torch.arange(3)), model)
    for t in scheduler.timesteps:
        x = scheduler.step(model.unet(x, t).sample, t, x).prev_sample
    assert float((ours - x).abs().max()) <= 1e-5
    assert float((x - x[:1]).abs().max()) > 0.01  # the samples differ, so equality says something


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_network_that_predicts_rightly_is_denoised_to_x0(prediction: str) -> None:
    model = tiny(prediction)
    x0, eps = torch.rand(2, *model.shape) * 2 - 1, torch.randn(2, *model.shape)
    t = torch.tensor([300, 700])
    a = model.alphas_cumprod[t].float().reshape(-1, 1, 1, 1)
    right = {"epsilon": eps, "v_prediction": a.sqrt() * eps - (1 - a).sqrt() * x0, "sample": x0}[prediction]
    model.predict = lambda *_: right  # type: ignore[method-assign]
    found = model.denoise(a.sqrt() * x0 + (1 - a).sqrt() * eps, t, torch.zeros(2, dtype=torch.long))
    assert torch.allclose(found, x0, atol=1e-5)


# --- the bottleneck ------------------------------------------------------------------------------------------------


def test_the_bottleneck_is_asked_once_and_the_identity_changes_nothing() -> None:
    model = tiny()
    seen: list[torch.Tensor] = []

    def look(h: torch.Tensor) -> torch.Tensor:
        seen.append(h.clone())
        return h

    x, t, condition = inputs(model)
    plain = model.denoise(x, t, condition)
    assert torch.equal(model.denoise(x, t, condition, look), plain)
    assert len(seen) == 1
    assert seen[0].shape[1:] == model.bottleneck_shape
    assert torch.equal(model.encode_bottleneck(x, t, condition), seen[0])
    assert not torch.equal(model.denoise(x, t, condition, lambda h: h + 1), plain)


def test_a_changed_bottleneck_meets_unchanged_skip_connections() -> None:
    """diffusers' own forward pass, with the middle block's output multiplied by 0 in the module itself."""
    model = tiny("sample", channels=3)
    x, t, condition = inputs(model)
    found = model.denoise(x, t, condition, torch.zeros_like)
    unet = model.unet
    emb = unet.time_embedding(unet.time_proj(t))
    h = unet.conv_in(x)
    skips = [h]
    for block in unet.down_blocks:
        h, kept = block(h, emb)
        skips += kept
    h = torch.zeros_like(unet.mid_block(h, emb))
    for block in unet.up_blocks:
        n = len(block.resnets)
        h = block(h, tuple(skips[-n:]), emb)
        del skips[-n:]
    assert torch.allclose(found, unet.conv_out(unet.conv_act(unet.conv_norm_out(h))), atol=1e-6)
    assert not skips


def test_the_encoder_half_does_not_run_the_decoder() -> None:
    model = tiny()
    calls: list[str] = []
    for name in ("down_blocks", "up_blocks"):
        for block in getattr(model.unet, name):
            block.register_forward_hook(lambda *_, name=name: calls.append(name))
    model.encode_bottleneck(*inputs(model))
    assert calls == ["down_blocks"] * 2
    model.denoise(*inputs(model))
    assert calls[2:] == ["down_blocks"] * 2 + ["up_blocks"] * 2


def test_no_hook_is_left_behind_even_by_a_bottleneck_that_raises() -> None:
    model = tiny()
    x, t, condition = inputs(model)
    plain = model.denoise(x, t, condition)

    def broken(_h: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model.denoise(x, t, condition, broken)
    model.encode_bottleneck(x, t, condition)
    assert not model.unet.mid_block._forward_hooks
    assert torch.equal(model.denoise(x, t, condition), plain)


def test_a_network_without_a_middle_block_says_that_it_has_no_bottleneck() -> None:
    model = tiny(mid_block_type=None)
    assert model.bottleneck_shape is None
    assert model.denoise(*inputs(model)).shape == (3, *model.shape)


# --- pixels and conditions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 2, 4])
def test_pixel_blocks_come_back_in_their_place(block: int) -> None:
    """A network that returns its input must return the image."""
    model = tiny(channels=3 * block**2)
    assert model.shape == (3, 8 * block, 8 * block)
    model.unet.forward = lambda x, _t, class_labels, return_dict: (x,)
    x, t, condition = inputs(model)
    assert torch.equal(model.predict(x, t, condition), x)


def test_a_pixel_block_holds_the_pixels_of_its_place() -> None:
    model, seen = tiny(channels=12), []
    model.unet.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    x, t, condition = inputs(model)
    model.predict(x, t, condition)
    assert torch.equal(seen[0][:, :, 1, 3], x[:, :, 2:4, 6:8].flatten(1))


def test_every_level_of_every_channel_survives_encoding() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 3, 16, 16)
    model = tiny()
    x = model.encode(images)
    assert (float(x.min()), float(x.max()), x.dtype) == (-1.0, 1.0, torch.float32)
    assert torch.equal(model.decode(x), images)
    outside = torch.tensor([-7.0, 7.0]).reshape(1, 1, 1, 2)
    assert model.decode(outside).flatten().tolist() == [0, 255]


def test_conditions_reach_the_network() -> None:
    config = {**SCHEDULER, "prediction_type": "v_prediction"}
    model = PixelUNet(network(num_class_embeds=3), config, ("none", "a", "b"))
    x, t, none = inputs(model)
    asked = [model.denoise(x, t, torch.full_like(none, c)) for c in range(3)]
    assert not torch.allclose(asked[0], asked[1], atol=1e-4)
    assert not torch.allclose(asked[1], asked[2], atol=1e-4)
    mixed = model.denoise(x, t, torch.tensor([0, 1, 2]))
    assert torch.allclose(mixed, torch.stack([asked[i][i] for i in range(3)]), atol=1e-5)
    one_label = PixelUNet(network(num_class_embeds=1), config)
    assert one_label.denoise(x, t, none).shape == x.shape


def test_the_network_computes_in_bf16_under_autocast_and_the_answer_is_in_the_samples_type() -> None:
    for prediction in ("epsilon", "v_prediction", "sample"):
        model = tiny(prediction)
        with torch.autocast("cpu", torch.bfloat16):
            assert model.denoise(*inputs(model)).dtype == torch.float32


# --- folders -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_tiny_unet(tmp_path_factory.mktemp("unet") / "tiny", num_class_embeds=2, norm_num_groups=8)
    (folder / CONDITIONS).write_text('{"conditions": ["none", "a"]}')
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


def test_a_saved_network_computes_what_it_computed(saved: Path) -> None:
    model = load_unet(saved)
    assert (model.name, model.conditions, model.shape) == ("tiny", ("none", "a"), (3, 32, 32))
    assert model.scheduler_config["prediction_type"] == "v_prediction"
    stored = load_file(saved / WEIGHTS)
    state = model.unet.state_dict()
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[key], stored[key]) for key in stored)
    fresh = PixelUNet(UNet2DModel.from_pretrained(saved).eval(), model.scheduler_config, model.conditions)
    x, t, condition = inputs(model)
    assert torch.allclose(model.denoise(x, t, condition), fresh.denoise(x, t, condition), atol=1e-6)
    assert model.digest == load_unet(saved).digest


def test_a_pipelines_folder_is_read(saved: Path, copy: Path) -> None:
    for part in ("unet", "scheduler"):
        (copy / part).mkdir()
    for name, part in (("config.json", "unet"), (WEIGHTS, "unet"), ("scheduler_config.json", "scheduler")):
        (copy / name).rename(copy / part / name)
    assert load_unet(copy).digest == load_unet(saved).digest


def test_half_precision_weights_are_widened(copy: Path) -> None:
    half = {key: value.half() for key, value in load_file(copy / WEIGHTS).items()}
    save_file(half, copy / WEIGHTS)
    state = load_unet(copy).unet.state_dict()
    assert all(state[key].dtype == torch.float32 and torch.equal(state[key], half[key].float()) for key in half)


def change_weight(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    state["conv_in.bias"][0] += 1e-3
    save_file(state, folder / WEIGHTS)


def rewrite(name: str, **changes: Any) -> Callable[[Path], None]:
    """A change of a JSON file; None removes a key."""

    def change(folder: Path) -> None:
        value = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps({k: v for k, v in value.items() if v is not None}))

    return change


SCHEDULE = "scheduler_config.json"


@pytest.mark.parametrize(
    "change",
    [
        change_weight,
        rewrite("config.json", norm_eps=1e-3),
        rewrite(SCHEDULE, prediction_type="sample"),
        rewrite(SCHEDULE, beta_schedule="linear"),
        rewrite(CONDITIONS, conditions=["none", "b"]),
    ],
    ids=["weights", "network", "prediction", "schedule", "conditions"],
)
def test_the_digest_knows_a_change(saved: Path, copy: Path, change: Callable[[Path], None]) -> None:
    change(copy)
    assert load_unet(copy).digest != load_unet(saved).digest


def cut(folder: Path) -> None:
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1000])


def unsafe_weights(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def garble(name: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(text)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rewrite(CONDITIONS, conditions=["none", "a", "b"]), r"2 class labels, \"none\" first, got 3: none, a, b"),
        (rewrite(CONDITIONS, conditions=["a", "none"]), r"\"none\" first, got 2: a, none"),
        (rewrite(CONDITIONS, conditions=None), r"must hold \{\"conditions\""),
        (rewrite(CONDITIONS, conditions=[]), r"must hold \{\"conditions\""),
        (rewrite(CONDITIONS, conditions="na"), r"must hold \{\"conditions\""),
        (remove(CONDITIONS), r"2 class labels, \"none\" first, got 1: none"),
        (remove("config.json"), "no file .*config.json; give a folder saved by"),
        (remove(SCHEDULE), "no file .*scheduler_config.json; give a folder"),
        (remove(WEIGHTS), "only safetensors are read: save with safe_serialization=True"),
        (unsafe_weights, "only safetensors are read, and only a pickle is there"),
        (cut, "damaged or cut short: copy it again"),
        (garble("config.json", "{"), "cannot read .*config.json"),
        (garble("config.json", "[]"), "must hold a JSON object, got list"),
        (rewrite("config.json", _class_name="Transformer2DModel"), "must describe a UNet2DModel, got 'Transformer2D"),
        (rewrite("config.json", layers_per_block=2), "another architecture than its config.json: '.*' is only in one"),
        (rewrite("config.json", block_out_channels=[64, 64]), "does not fit its config.json"),
        (rewrite("config.json", down_block_types=["DownBlock2D", "NoBlock2D"]), "does not fit its config.json"),
        (rewrite("config.json", sample_size=[8, 8]), r"sample_size must be one number, got \[8, 8\]"),
        (rewrite(SCHEDULE, prediction_type="flow"), "epsilon, v_prediction or sample, got 'flow'"),
        (rewrite(SCHEDULE, beta_schedule=None), "must hold beta_schedule; save it with DDIMScheduler"),
        (rewrite(SCHEDULE, num_train_timesteps=None), "must hold num_train_timesteps"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_a_sentence(
    copy: Path, change: Callable[[Path], None], message: str
) -> None:
    change(copy)
    with pytest.raises(ConfigError, match=message):
        load_unet(copy)


def test_channels_that_are_no_pixels_are_refused() -> None:
    for changes in ({"in_channels": 4, "out_channels": 4}, {"out_channels": 3}):
        with pytest.raises(ConfigError, match=r"3 p\^2 input channels and as many output channels"):
            tiny(**changes)
