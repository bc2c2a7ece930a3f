"""Fields that families share: the same samples however a network is run, and digests that stay what they were."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline

from bench.core.digest import digest_of, file_digest
from bench.core.errors import BenchError, ConfigError
from bench.core.json_text import read_object
from bench.core.plugins import ROOT
from bench.models import PIPELINES, load_model
from bench.models.offload import device_of, taking_turns, visit
from bench.models.pretrained import SCHEDULE, WEIGHTS, pipeline_digest
from tests.models.test_pipelines_flow import pipeline as stable_diffusion_3
from tests.models.test_pipelines_latent import dit_pipeline, latent_diffusion
from tests.models.test_pipelines_text import PROMPTS, stable_diffusion, stable_diffusion_xl
from tests.support.pipelines import ddim_scheduler, rewrite, samples, tiny_autoencoder, tiny_unet

Read = Callable[..., Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny pipeline of every family."""
    root = tmp_path_factory.mktemp("families")
    DDPMPipeline(tiny_unet(), ddim_scheduler()).save_pretrained(root / "unet")
    latent_diffusion("kl").save_pretrained(root / "ldm")
    dit_pipeline().save_pretrained(root / "dit")
    for name, make in (("sd", stable_diffusion), ("xl", stable_diffusion_xl), ("sd3", stable_diffusion_3)):
        make(root / name)
    return {name: root / name for name in ("unet", "ldm", "dit")} | {n: root / n / "saved" for n in ("sd", "xl", "sd3")}


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    """To a tolerance in what random networks draw, which is far beyond [-1, 1]."""
    assert float((found - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


FAMILIES = ("unet", "ldm", "dit", "sd", "xl", "sd3")


@pytest.fixture(scope="module")
def read(folders: dict[str, Path]) -> Read:
    def load(family: str, **fields: Any) -> Any:
        asked = {"prompts": PROMPTS} if family in ("sd", "xl", "sd3") else {}
        return load_model(f"path:{folders[family]}", fields={**asked, **fields})

    return load


# --- digests -------------------------------------------------------------------------------------------------------


def test_the_shipped_models_digest_is_that_of_the_committed_leaderboards() -> None:
    with (ROOT / "leaderboards" / "quick" / "results.csv").open(newline="") as f:
        (committed,) = {row["model_sha256"] for row in csv.DictReader(f)}
    assert load_model("avatars-unet").digest == committed


def test_digests_with_default_fields_are_those_from_before_there_were_more_fields(
    folders: dict[str, Path], read: Read
) -> None:
    folder = folders["unet"]
    config, schedule = (read_object(folder / p, "") for p in ("unet/config.json", f"scheduler/{SCHEDULE}"))
    old = digest_of([file_digest(folder / "unet" / WEIGHTS), config, schedule, ["none"]])
    assert read("unet").digest == old
    assert read("ldm").digest == pipeline_digest(folders["ldm"], {})
    run = {"dtype": "fp32", "decode_batch": None}
    label = {f"label={k}": k for k in range(1000)}
    dit = {**run, "guidance_scale": 4.0, "conditions": None, "bottleneck": None, "labels": label}
    assert read("dit").digest == pipeline_digest(folders["dit"], dit)
    text = {**run, "prompts": PROMPTS, "negative_prompt": ""}
    assert read("sd").digest == pipeline_digest(folders["sd"], {**text, "guidance_scale": 7.5})
    assert read("sd3").digest == pipeline_digest(folders["sd3"], {**text, "guidance_scale": 7.0, "bottleneck": None})
    xl = {**text, "guidance_scale": 5.0, "negative_prompt": None, "zeros": True}
    assert read("xl").digest == pipeline_digest(folders["xl"], xl)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_digest_knows_what_changes_numbers_and_nothing_else(pipeline: str) -> None:
    made = importlib.import_module(f"bench.models.{PIPELINES[pipeline].module}").Model
    given = {"prompts": PROMPTS} if "prompts" in {f.name for f in dataclasses.fields(made)} else {}
    plain = made(**given).settings()
    known = {f.name for f in dataclasses.fields(made)}
    changes: tuple[tuple[str, Any], ...] = (("dtype", "bf16"), ("compile", True), ("vae_tiling", True))
    for field, value in changes:
        assert field not in known or made(**given, **{field: value}).settings() != plain
    for field, value in (("decode_batch", 1), ("offload", "model"), ("attention_slicing", "max")):
        assert field not in known or made(**given, **{field: value}).settings() == plain


# --- dtype ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["unet", "ldm"])
def test_half_of_the_weights_memory_gives_nearly_the_same(read: Read, family: str) -> None:
    half, whole = (read(family, dtype=d) for d in ("bf16", "fp32"))
    assert {p.dtype for p in half.network.parameters()} == {torch.bfloat16}
    x = torch.randn(3, *half.shape, generator=torch.Generator().manual_seed(0))
    t, none = torch.full((3,), 100), torch.zeros(3, dtype=torch.int64)
    found, exact = half.denoise(x, t, none), whole.denoise(x, t, none)
    assert found.dtype == torch.float32
    assert 0 < float((found - exact).norm() / exact.norm()) < 0.1
    assert half.decode(found).dtype == torch.uint8
    steered = half.denoise(x, t, none, lambda h: h + 1)
    assert not torch.equal(steered, found)


# --- slices and tiles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "slicing"), [("sd", True), ("sd", "max"), ("xl", "auto")])
def test_sliced_attention_gives_the_same_samples(read: Read, family: str, slicing: bool | str) -> None:
    model = read(family, attention_slicing=slicing)
    kinds = {type(p).__name__ for p in model.network.attn_processors.values()}
    assert kinds == {"SlicedAttnProcessor"}
    plain = read(family)
    close(samples(model, condition=2), samples(plain, condition=2), 1e-5)
    assert model.digest == plain.digest


def test_tiles_are_those_of_the_autoencoder_itself(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["ldm"], tmp_path / "ldm"))
    network = tiny_autoencoder(sample_size=8)
    network.save_pretrained(folder / "vqvae")
    whole, tiled = (load_model(f"path:{folder}", fields={"vae_tiling": v}) for v in (False, True))
    x = torch.randn(3, *whole.shape, generator=torch.Generator().manual_seed(0))
    network.enable_tiling()
    wanted: Any = network.requires_grad_(False).decode(x / network.config.scaling_factor).sample
    found, untiled = (model.autoencoder.pixels(x) for model in (tiled, whole))  # type: ignore[attr-defined]
    assert torch.allclose(found, wanted, atol=1e-5)
    assert float((untiled - wanted).abs().max()) > 1e-3


def test_an_autoencoder_without_tiles_is_refused(tmp_path: Path) -> None:
    latent_diffusion("vq").save_pretrained(tmp_path / "vq")
    with pytest.raises(ConfigError, match="vae_tiling needs an AutoencoderKL, got a VQModel; leave it out"):
        load_model(f"path:{tmp_path / 'vq'}", fields={"vae_tiling": True})


# --- compilation ---------------------------------------------------------------------------------------------------


def same_when_compiled(read: Read, family: str, tolerance: float, sizes: tuple[int, ...]) -> None:
    """With the bottleneck looked at, changed and left alone, for some numbers of rows."""
    plain, compiled = read(family), read(family, compile=True)
    for rows in sizes:
        x = torch.randn(rows, *plain.shape, generator=torch.Generator().manual_seed(0))
        asked = x, torch.full((rows,), 400), torch.zeros(rows, dtype=torch.int64)
        with torch.no_grad():
            wanted, pushed = plain.denoise(*asked), plain.denoise(*asked, lambda h: 2 * h)
            assert float((wanted - pushed).abs().max()) > 1e-3
            close(compiled.denoise(*asked), wanted, tolerance)
            close(compiled.denoise(*asked, lambda h: 2 * h), pushed, tolerance)
            close(compiled.encode_bottleneck(*asked), plain.encode_bottleneck(*asked), tolerance)
    assert compiled.digest != plain.digest


def test_compiled_blocks_leave_the_bottleneck_in_reach(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dynamo's tracing, where hooks could get lost, and without a compiler, which takes minutes."""
    compile_, seen = torch.compile, list[Any]()

    def traced(forward: Any) -> Any:
        seen.append(forward)
        return compile_(forward, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)
    same_when_compiled(read, "dit", 1e-5, (2,))
    assert len(seen) == 4
    torch._dynamo.reset()


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_blocks_compute_the_same(read: Read, family: str) -> None:
    torch._dynamo.reset()
    same_when_compiled(read, family, 1e-4, (3, 5))


def test_what_cannot_be_compiled_is_said_in_a_sentence(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_forward: Any) -> Any:
        def call(*_args: Any, **_fields: Any) -> Any:
            raise RuntimeError("no C++ compiler\nlong\ntrace")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(ConfigError, match=r"torch.compile does not work here: no C\+\+ compiler; leave") as caught:
        read("unet", compile=True)
    assert "\n" not in str(caught.value)


# --- offload -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_there_is_nothing_to_offload_from_a_cpu(read: Read, offload: str) -> None:
    with pytest.raises(BenchError, match=f"offload: {offload} frees an accelerator's memory, got device cpu; leave"):
        read("sd", offload=offload)


def test_a_layers_weights_are_away_from_home_only_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without an accelerator a copy on the CPU stands for one: what counts is where the copies go."""
    network = tiny_unet()
    wanted = network(x := torch.randn(1, 3, 8, 8), 3).sample
    home = {name: p.data_ptr() for name, p in network.named_parameters()}
    layer, away = network.mid_block.resnets[0].conv1, list[bool]()
    to = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda x, *a, **k: x.clone() if a == (torch.device("cpu"),) else to(x, *a, **k)
    )
    visit(network, "cpu")
    layer.register_forward_hook(
        lambda *_: away.append(layer.weight.data_ptr() != home["mid_block.resnets.0.conv1.weight"]), prepend=True
    )
    assert torch.equal(network(x, 3).sample, wanted)
    assert away == [True]
    assert {name: p.data_ptr() for name, p in network.named_parameters()} == home
    assert device_of(network) == torch.device("cpu")


def test_denoiser_and_autoencoder_take_turns() -> None:
    moves: list[tuple[str, str]] = []

    class Network(torch.nn.Linear):
        def __init__(self, name: str, device: str) -> None:
            super().__init__(1, 1)
            self.called, self.runs_on = name, torch.device(device)

        def to(self, device: Any) -> Any:
            moves.append((self.called, str(device)))
            return self

    unet, vae = Network("unet", "meta"), Network("vae", "cpu")
    with taking_turns(unet, vae):
        assert moves == [("unet", "cpu"), ("vae", "meta")]
    assert moves[2:] == [("vae", "cpu"), ("unet", "meta")]
    moves.clear()
    with taking_turns(unet, Network("vae", "meta")):
        pass
    assert not moves


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("offload", ["model", "sequential"])
@pytest.mark.parametrize("family", ["ldm", "dit", "sd", "xl", "sd3"])
def test_offloaded_networks_compute_the_same(folders: dict[str, Path], family: str, offload: str) -> None:
    asked = {"prompts": PROMPTS} if family in ("sd", "xl", "sd3") else {}
    models = [load_model(f"path:{folders[family]}", "cuda", {**asked, "offload": o}) for o in ("none", offload)]
    plain, away = (samples(model) for model in models)
    assert torch.equal(plain, away)
    assert torch.equal(*(model.decode(plain) for model in models))
    at_home: Any = models[1]
    assert next(at_home.autoencoder.network.parameters()).device.type == "cpu"
    assert next(at_home.network.parameters()).device.type == ("cpu" if offload == "sequential" else "cuda")


def test_fields_of_other_families_are_refused(folders: dict[str, Path], read: Read, tmp_path: Path) -> None:
    for family, field in (("unet", "offload"), ("dit", "attention_slicing"), ("sd3", "attention_slicing")):
        with pytest.raises(BenchError, match=f"unknown field of model .* '{field}'"):
            read(family, **{field: "max"})
    with pytest.raises(BenchError, match="compile must be false with offload: sequential"):
        read("ldm", offload="sequential", compile=True)
    with pytest.raises(BenchError, match="decode_batch must be at least 1, got 0"):
        read("sd3", decode_batch=0)
    copy = Path(shutil.copytree(folders["sd3"], tmp_path / "sd3"))
    rewrite("vae/config.json", _class_name="AutoencoderTiny")(copy)
    with pytest.raises(BenchError, match="must describe an AutoencoderKL or VQModel"):
        load_model(f"path:{copy}", fields={"prompts": PROMPTS})
