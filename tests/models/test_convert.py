"""Checkpoints of guided-diffusion and P2-weighting: the converted network against the architecture's own formulas."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel

from bench.core.errors import BenchError, ConfigError
from bench.models import load_model
from bench.models.guided_diffusion import Hyperparameters, convert, read_checkpoint, save
from tests.support.guided_diffusion import random_weights, unet
from tests.support.runs import Call, caller

TINY = Hyperparameters(16, 32, 1, (1, 2), (8,), num_head_channels=16)
VARIANTS: dict[str, dict[str, Any]] = {
    "p2": {},
    "time added, convolutions resize": {"use_scale_shift_norm": False, "resblock_updown": False},
    "new order of attention": {"use_new_attention_order": True},
    "heads counted, at the last level alone": {"num_head_channels": -1, "num_heads": 2},
    "attention at every level, two blocks": {"attention_resolutions": (16, 8), "num_res_blocks": 2},
    "attention in the middle alone, no variance": {"attention_resolutions": (), "learn_sigma": False},
    "three levels": {"channel_mult": (1, 1, 2), "attention_resolutions": (4, 16), "resblock_updown": False},
}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_converted_network_computes_the_architectures_formulas(name: str) -> None:
    chosen = dataclasses.replace(TINY, **VARIANTS[name])
    state = random_weights(chosen)
    network = UNet2DModel(**chosen.config()).eval()
    network.load_state_dict(convert(state, chosen))
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([0, 417, 999])
    with torch.no_grad():
        found, wanted = network(x, t).sample, unet(state, chosen, x, t)
    assert found.shape[1] == (6 if chosen.learn_sigma else 3)
    assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())
    assert float((wanted[0] - unet(state, chosen, x, t.flip(0))[0]).abs().max()) > 1e-3  # the time matters
    if "attention" in name or name == "p2":  # and so does which rows are q, k and v
        other = dataclasses.replace(chosen, use_new_attention_order=not chosen.use_new_attention_order)
        network.load_state_dict(convert(state, other))
        with torch.no_grad():
            assert float((network(x, t).sample - wanted).abs().max()) > 1e-3


def test_the_defaults_are_p2s_for_256_pixels() -> None:
    chosen = Hyperparameters()
    config = chosen.config()
    assert config["block_out_channels"] == (128, 128, 256, 256, 512, 512)
    assert [kind.startswith("Attn") for kind in config["down_block_types"]] == [False] * 4 + [True, False]  # 16 x 16
    assert (config["out_channels"], config["layers_per_block"], config["attention_head_dim"]) == (6, 1, 64)
    betas = chosen.schedule()
    assert (betas["beta_start"], betas["beta_end"], betas["num_train_timesteps"]) == (0.0001, 0.02, 1000)
    assert dataclasses.replace(chosen, diffusion_steps=4000).schedule()["beta_end"] == pytest.approx(0.005)


def test_the_command_makes_a_pipeline_that_is_read(tmp_path: Path, call: Call) -> None:
    state = random_weights(TINY)
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "tiny.pt")
    options = ["--image-size", 16, "--num-channels", 32, "--channel-mult", "1,2", "--attention-resolutions", 8]
    arguments = ["convert", tmp_path / "tiny.pt", "--out", tmp_path / "made", *options, "--num-head-channels", 16]
    code, shown, _ = call(*arguments)
    assert code == 0, shown
    model: Any = load_model(f"path:{tmp_path / 'made'}")
    half = {key: value.half().float() for key, value in state.items()}
    x, t = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([10, 900])
    a = model.alphas_cumprod[t].float().reshape(-1, 1, 1, 1)
    eps = unet(half, TINY, x, t)[:, :3]
    wanted = (x - (1 - a).sqrt() * eps) / a.sqrt()
    found = model.denoise(x, t, torch.zeros(2, dtype=torch.int64))
    assert float((found - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())
    betas = np.linspace(1e-4, 0.02, 1000)
    assert np.allclose(model.alphas_cumprod, np.cumprod(1 - betas), rtol=1e-4)
    code, _, said = call(*arguments)
    assert code == 2
    assert "must be a new or empty folder" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_mult": (2, 2)}, "channel_mult must be whole numbers that begin with 1, .* got 2, 2; other networks"),
        ({"channel_mult": None}, "channel_mult must be given for images of other sides than 256, 128, 64, got 16"),
        ({"num_channels": 48}, "channels a multiple of 32, got .* 48"),
        ({"attention_resolutions": (4,)}, "must be among the sides of the levels, 16, 8, .* got 4 of 16 pixels"),
        (
            {"num_head_channels": -1, "attention_resolutions": (16, 8)},
            "heads of one width throughout, got 8, 16 from num_heads 4; such a network cannot be converted",
        ),
    ],
)
def test_what_diffusers_cannot_express_is_refused_in_a_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_res_blocks": 2}, "must hold 'input_blocks"),
        ({"resblock_updown": False}, r"must hold 'input_blocks.2.0.op.weight' with these options"),
        ({"learn_sigma": False}, r"conv_out.bias must be \[3\] with these options, got \[6\]"),
        ({"attention_resolutions": ()}, r"must hold 'output_blocks.1.1.in_layers.0.weight' with these options"),
        ({"attention_resolutions": (), "resblock_updown": False}, "must hold 'input_blocks.2.0.op.weight'"),
        ({"num_head_channels": 24}, "has 192 rows, which heads of 24 do not divide"),
        ({"num_channels": 64}, r"must be \[64\] with these options, got \[32\]"),
    ],
)
def test_options_of_another_training_are_refused_in_a_sentence(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        save(random_weights(TINY), dataclasses.replace(TINY, **changes), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_state_dicts_are_refused(tmp_path: Path, call: Call) -> None:
    with pytest.raises(BenchError, match=r"no file .*none.pt; give a checkpoint such as"):
        read_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(BenchError, match="it is damaged, or holds more than tensors; give a state dict"):
        read_checkpoint(tmp_path / "text.pt")
    torch.save(TINY, tmp_path / "object.pt")
    with pytest.raises(BenchError, match="it is damaged, or holds more than tensors"):
        read_checkpoint(tmp_path / "object.pt")
    torch.save({"step": 3}, tmp_path / "step.pt")
    with pytest.raises(BenchError, match="must hold a state dict, names to tensors"):
        read_checkpoint(tmp_path / "step.pt")
    with pytest.raises(BenchError, match="no more than these options make, got 'extra' as well; say those"):
        convert({**random_weights(TINY), "extra": torch.zeros(1)}, TINY)
    with pytest.raises(BenchError, match="a class-conditional checkpoint has no class that stands for none"):
        convert({"label_emb.weight": torch.zeros(1)}, TINY)
    for option, value, message in (
        ("--channel-mult", "1,x", "must be whole numbers with commas between them"),
        ("--noise-schedule", "sigmoid", "must be linear or cosine, got 'sigmoid'"),
    ):
        code, _, said = call("convert", tmp_path / "none.pt", "--out", tmp_path / "out", option, value)
        assert code == 2
        assert message in " ".join(said.split())
