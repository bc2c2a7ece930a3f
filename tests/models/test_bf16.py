"""Weights that are cast once give what autocast gives, and a CPU that is slow at bf16 is named."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.config.suite import read_suite
from bench.engine.options import Options
from bench.engine.preflight import preflight
from bench.environment.doctor import examine
from bench.estimate.memory import estimate_memory
from bench.models import bf16, load_model
from bench.models.bf16 import cast_weights, castable_bytes, fast_on_cpu, slow_sentence
from bench.models.offload import taking_turns
from bench.protocols.method import Batch, Task
from bench.sampling.loop import Sampler, sample_batch
from methods.vanilla import Method as Vanilla
from tests.models.test_model_fields import FAMILIES, Read, folders, read
from tests.support.small import save_tiny_unet, small_suite

__all__ = ["folders", "read"]  # fixtures


@pytest.fixture
def embedded() -> Any:
    return load_model("avatars-unet")


def denoised(model: Any, autocast: bool = True, gradient: bool = False) -> torch.Tensor:
    x = torch.randn(3, *model.shape, generator=torch.Generator().manual_seed(0)).requires_grad_(gradient)
    t, none = torch.full((3,), 500), torch.zeros(3, dtype=torch.int64)
    with torch.set_grad_enabled(gradient), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = model.denoise(x, t, none)
    return torch.autograd.grad(out.sum(), x)[0] if gradient else out


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_cast_once_give_what_autocast_gives(read: Read, family: str) -> None:
    model = read(family)
    expected = denoised(model)
    assert not torch.equal(expected, denoised(model, autocast=False))
    with cast_weights(model.network):
        assert torch.equal(denoised(model), expected)


def test_gradients_of_samples_are_those_of_autocast(embedded: Any) -> None:
    expected = denoised(embedded, gradient=True)
    with cast_weights(embedded.network):
        assert torch.equal(denoised(embedded, gradient=True), expected)


def test_nothing_is_cast_at_a_call(embedded: Any) -> None:
    with cast_weights(embedded.network):
        names = {p.dtype for layer in layers(embedded.network)[1:] for p in layer.parameters(recurse=False)}
        assert names == {torch.bfloat16}
        first = [p.data_ptr() for p in embedded.network.parameters()]
    with cast_weights(embedded.network):
        assert [p.data_ptr() for p in embedded.network.parameters()] == first  # the same copies again


def layers(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def test_the_weights_are_float32_again_afterwards_and_after_an_error(embedded: Any) -> None:
    before = [p.data_ptr() for p in embedded.network.parameters()]
    with pytest.raises(KeyError), cast_weights(embedded.network):
        raise KeyError
    assert [p.data_ptr() for p in embedded.network.parameters()] == before
    assert {p.dtype for p in embedded.network.parameters()} == {torch.float32}


def test_changed_weights_are_cast_again() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with cast_weights(network):
        pass
    with torch.no_grad():
        network[1].weight.fill_(3.0)
    with cast_weights(network):
        assert network[1].weight.dtype == torch.bfloat16
        assert network[1].weight.eq(3.0).all()


def test_weights_that_another_layer_reads_in_float32_are_left_alone() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Embedding(4, 2), nn.Linear(2, 4, bias=False))
    network[2].weight = network[1].weight
    assert castable_bytes(network) == 0
    with cast_weights(network):
        assert {p.dtype for p in network.parameters()} == {torch.float32}


class Anywhere(nn.Module):
    """Two layers, which stay where they are."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    def to(self, *_args: object, **_options: object) -> Anywhere:  # type: ignore[override]
        return self


def test_a_network_that_leaves_its_device_frees_its_copies() -> None:
    network, other = Anywhere(), Anywhere()
    other.runs_on = torch.device("meta")  # type: ignore[assignment]
    with cast_weights(network):
        assert network in bf16._copies
    with taking_turns(network, other):
        assert network not in bf16._copies


def test_copies_go_with_their_network() -> None:
    network = Anywhere()
    with cast_weights(network):
        pass
    count = len(bf16._copies)
    del network
    gc.collect()
    assert len(bf16._copies) == count - 1


def test_a_run_in_bf16_samples_as_under_autocast_alone(embedded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw() -> torch.Tensor:
        batch = Batch(torch.arange(2), torch.zeros(2, dtype=torch.int64), micro=2)
        sampler = Sampler("ddim", 3, precision="bf16", spacing="logsnr")
        return sample_batch(embedded, vanilla.denoise, sampler, batch, 0)

    vanilla = Vanilla().build(Task(embedded, (), np.array([]), ()), 0)

    once = draw()
    monkeypatch.setattr("bench.sampling.loop.cast_weights", lambda _network: cast_weights(None))
    assert torch.equal(draw(), once)


def test_the_estimate_of_memory_has_the_copies(embedded: Any) -> None:
    """Linear layers and convolutions have all weights but those of norms: half of their four bytes each."""
    plain, half = (estimate_memory(embedded, gradient=False, bf16=b) for b in (False, True))
    weights = sum(p.numel() for layer in layers(embedded.network)[1:] for p in layer.parameters(recurse=False))
    assert half.network - plain.network == 2 * weights
    assert 0.45 < half.network / plain.network - 1 < 0.5


# --- slow CPUs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Pretend another CPU."""

    def pretend(machine: str, capability: str, native: bool = False, amx: bool = False, flags: str = "") -> None:
        monkeypatch.setattr("platform.machine", lambda: machine)
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: native)
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: amx)
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n" if flags else "processor: 0\n")
        monkeypatch.setattr(bf16, "CPUS", tmp_path / "cpuinfo")

    return pretend


@pytest.mark.parametrize(
    ("capability", "flag", "amx", "fast"),
    [
        ("AVX2", False, False, False),
        ("DEFAULT", True, True, False),  # torch was told to do without
        ("AVX512", False, False, False),
        ("AVX512", True, False, True),
        ("AVX512", False, True, True),
    ],
)
def test_x86_is_fast_at_bf16_with_avx512_bf16_or_amx(
    cpu: Any, capability: str, flag: bool, amx: bool, fast: bool
) -> None:
    cpu("x86_64", capability, flag, amx)
    assert fast_on_cpu("bf16") is fast
    assert (slow_sentence({"precision": "bf16"}) is None) is fast


def test_other_cpus_are_asked_for_their_flags(cpu: Any) -> None:
    cpu("aarch64", "DEFAULT", flags="asimd bf16")
    assert (fast_on_cpu("bf16"), fast_on_cpu("fp16")) == (True, False)
    cpu("aarch64", "DEFAULT", flags="asimd asimdhp")
    assert (fast_on_cpu("bf16"), fast_on_cpu("fp16")) == (False, True)
    cpu("arm64", "DEFAULT")
    assert not fast_on_cpu("bf16")


def test_half_precision_is_another_instruction_set(cpu: Any) -> None:
    cpu("x86_64", "AVX512", native=True, flags="avx512_bf16")
    assert slow_sentence({"precision": "bf16", "dtype": "fp16"}) == (
        "dtype: fp16 is slower than fp32 on this CPU, 2 to 7 times by measurement, since it has neither AVX512-FP16 "
        "nor AMX-FP16; take fp32, or a GPU"
    )


def test_gpus_and_fp32_are_not_warned_of(cpu: Any) -> None:
    cpu("x86_64", "AVX2")
    assert slow_sentence({"precision": "bf16"}, "cuda:0") is None
    assert slow_sentence({"precision": "fp32", "dtype": None}) is None


SLOW = "is slower than fp32 on this CPU, 2 to 7 times by measurement, since it has neither AVX512-BF16 nor AMX"


def test_doctor_says_so(cpu: Any) -> None:
    cpu("x86_64", "AVX2")
    assert ("bf16 on cpu", f"precision: bf16 {SLOW}; take fp32, or a GPU", "unavailable") in examine()
    cpu("x86_64", "AVX512", native=True)
    assert ("bf16 on cpu", "not slower than fp32", "ok") in examine()


@pytest.mark.parametrize("setting", ["precision", "dtype"])
def test_the_check_before_a_run_says_so(
    cpu: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    cpu("x86_64", "AVX2")
    save_tiny_unet(tmp_path / "model")
    model = {"name": f"path:{tmp_path / 'model'}", "with": {"dtype": "bf16"} if setting == "dtype" else {}}
    sampler = {"name": "ddim", "steps": 3, "precision": "bf16" if setting == "precision" else "fp32"}
    suite = small_suite(tmp_path, model=model, sampler=sampler, methods=[{"name": "vanilla"}])
    preflight(read_suite(str(suite)), Options(tmp_path / "out"))
    assert capsys.readouterr().err.count(f"{setting}: bf16 {SLOW}") == 1
