"""The memory estimate: bytes by hand, told from one row, and said where they are not there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.config.suite import read_suite
from bench.core.errors import ConfigError
from bench.engine.options import Options
from bench.engine.preflight import preflight
from bench.estimate import memory, show
from bench.estimate.memory import KERNELS, MemoryEstimate, estimate_memory, peak_of, shortage
from bench.models import load_model
from tests.models.test_pipelines_latent import latent_diffusion
from tests.support.small import save_tiny_unet, small_suite

GIB = 2**30


def test_what_is_alive_at_once_is_counted_and_what_is_let_go_is_not() -> None:
    x = torch.zeros(1000)  # 4000 bytes, made before

    def chain() -> None:
        y = x + 1
        z = y.double()  # 8000 beside y's 4000
        del y
        z.mul_(2)[:10].sum()  # in place, and a view: one number more
        w = z + 1  # 8000 beside z's 8000
        del z, w

    assert peak_of(chain) == 16_000

    def graph() -> None:
        with torch.enable_grad():
            leaf = torch.zeros(1000, requires_grad=True)
            torch.autograd.grad((leaf.exp() * 2).sum(), leaf)

    # leaf, exp (kept for the way back) and its double; then, on the way back, gradients beside leaf and exp
    assert 12_000 <= peak_of(graph) <= 16_100


def test_a_model_takes_its_weights_and_as_much_a_row_whatever_the_rows(tmp_path: Path) -> None:
    folder = save_tiny_unet(tmp_path / "model")
    model: Any = load_model(f"path:{folder}")
    found = estimate_memory(model, gradient=False)
    header = 8 + int.from_bytes((folder / "diffusion_pytorch_model.safetensors").read_bytes()[:8], "little")
    assert found.network == (folder / "diffusion_pytorch_model.safetensors").stat().st_size - header
    assert (found.autoencoder, found.image, found.together) == (0, 0, True)

    def peak(rows: int) -> int:
        x, none = torch.zeros(rows, *model.shape), torch.zeros(rows, dtype=torch.int64)
        return peak_of(lambda: torch.no_grad()(model.denoise)(x, none + 500, none))

    for rows in (1, 5, 16):
        assert rows * found.row == pytest.approx(KERNELS * peak(rows), rel=0.02)
    assert found.peak(16) == found.network + 16 * found.row
    assert estimate_memory(model, gradient=True).row > 1.5 * found.row  # what the way back needs is kept
    half: Any = load_model(f"path:{folder}", fields={"dtype": "bf16"})
    assert estimate_memory(half, gradient=False).network == found.network // 2


def test_an_autoencoder_is_counted_as_many_images_as_it_decodes_at_once(tmp_path: Path) -> None:
    latent_diffusion("kl").save_pretrained(tmp_path / "ldm")
    model: Any = load_model(f"path:{tmp_path / 'ldm'}", fields={"decode_batch": 3})
    found = estimate_memory(model, gradient=False)
    assert found.autoencoder == 4 * sum(p.numel() for p in model.autoencoder.network.parameters())
    x = torch.zeros(3, *model.shape)
    assert 3 * found.image == pytest.approx(KERNELS * peak_of(lambda: model.decode(x)), rel=0.1)
    assert found.peak(1) == found.network + found.autoencoder + max(found.row, 3 * found.image)


ESTIMATE = MemoryEstimate(4 * GIB, GIB, True, GIB, 2 * GIB, 2, gradient=False)


def test_the_peak_is_that_of_denoising_or_of_decoding() -> None:
    assert ESTIMATE.peak(10) == 15 * GIB
    assert ESTIMATE.peak(1) == 9 * GIB  # two images decoded beside both networks
    apart = dataclasses.replace(ESTIMATE, together=False)
    assert apart.peak(10) == 14 * GIB
    assert apart.peak(1) == 5 * GIB
    assert (ESTIMATE.largest_batch(8.5 * GIB), apart.largest_batch(8.5 * GIB)) == (3, 4)
    assert ESTIMATE.largest_batch(GIB) == 0


@pytest.mark.parametrize(
    ("rows", "processes", "free", "said"),
    [
        (10, 1, 15 * GIB, None),
        (10, 1, 12 * GIB, "takes about 15.0 GiB of cuda, which has 12.0 GiB; give --compute-batch 7"),
        (10, 2, 24 * GIB, "of cuda in each of 2 workers, which has 24.0 GiB; give --compute-batch 7"),
        (10, 1, 7 * GIB, "give --compute-batch 2, and the model a decode_batch below 2"),
        (1, 1, 4 * GIB, "takes about 9.0 GiB of cuda, which has 4.0 GiB; give the model another dtype, or offload"),
    ],
)
def test_a_shortage_is_said_with_the_batch_that_fits(rows: int, processes: int, free: int, said: str | None) -> None:
    found = shortage(ESTIMATE, rows, processes, "cuda", free)
    assert (found is None) == (said is None)
    if found and said:
        assert found.startswith(f"warning: a compute batch of {rows} takes about ")
        assert found.endswith(said)
        assert "\n" not in found


def test_a_run_says_so_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without a GPU, one is told to be there, with little memory left."""
    suite, options = read_suite(str(small_suite(tmp_path, methods=[{"name": "vanilla"}]))), Options(tmp_path / "out")
    plan = preflight(suite, options)
    said: list[str] = []
    monkeypatch.setattr(show.terminal, "print", lambda line, **_: said.append(line))
    show.warn_of_memory(plan)
    assert not said  # a CPU's memory is not asked for
    model: Any = load_model(suite.model.name)
    row = estimate_memory(model, gradient=False).row
    monkeypatch.setattr(memory, "free_memory", lambda _device: int(4.5 * row))
    show.warn_of_memory(plan)
    assert len(said) == 1
    assert said[0].endswith("give --compute-batch 4")


def test_not_even_one_image_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, options = read_suite(str(small_suite(tmp_path, methods=[{"name": "vanilla"}]))), Options(tmp_path / "out")

    plan = preflight(suite, options)

    def full(*_: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory, "free_memory", lambda _device: 0)
    monkeypatch.setattr(memory, "estimate_of", full)
    with pytest.raises(
        ConfigError, match=r"cpu has no room for one image of model path:.*; give the model another dtype"
    ):
        show.warn_of_memory(plan)
    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(ConfigError, match=r"cpu has no room for the 0.0 GiB of .*safetensors; give the model another"):
        load_model(suite.model.name)
