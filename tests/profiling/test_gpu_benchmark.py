"""The table of speed and memory at full size, made here of a tiny shape on the CPU; and the full shapes' weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from tests.benchmarks.gpu import METHODS, SHAPES, Row, main, markdown


def test_every_method_has_a_row_or_a_reason(tmp_path: Path) -> None:
    sizes = ["--batch", "2", "--steps", "2", "--rounds", "1", "--dtype", "fp32"]
    main(["--shape", "tiny", "--device", "cpu", *sizes, "--out", str(tmp_path / "gpu.md")])
    page = (tmp_path / "gpu.md").read_text()
    table = [line.split(" | ") for line in page.splitlines() if line.startswith("| tiny")]
    assert [cells[1] for cells in table] == [name for name in METHODS if name != "universal_guidance"]
    assert table[0][5] == "1.00"
    assert all(float(cells[3]) == pytest.approx(1 / float(cells[4]), rel=0.02) for cells in table)
    assert all(float(cells[6].rstrip(" |")) > 0 for cells in table)
    assert "tiny, universal_guidance: does not run: there are no classifiers" in page
    assert "tiny: the memory estimate tells" in page


def test_the_arithmetic_of_the_table() -> None:
    rows = [
        Row("s", "vanilla", 4, 0.5, 2**30),
        Row("s", "slow", 4, 0.75, 3 * 2**29),
        Row("s", "none", 4, reason="it lacks something"),
    ]
    page = markdown(rows, {"s": 2**31}, "On something.")
    assert "| s | vanilla | 4 | 2 | 0.5 | 1.00 | 1.00 |" in page
    assert "| s | slow | 4 | 1.33 | 0.75 | 1.50 | 1.50 |" in page
    assert page.endswith(
        "s: the memory estimate tells 2.00 GiB for vanilla's batch.\ns, none: does not run: it lacks something\n"
    )


@pytest.mark.parametrize(("name", "millions"), [("sd15", 859.5), ("sdxl", 2567.5)])
def test_the_full_shapes_have_as_many_weights_as_published(name: str, millions: float) -> None:
    """860 M and 2.6 B in the U-Net, 84 M in the autoencoder: the published model cards."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SHAPES[name].unet)
        vae = AutoencoderKL(**{"latent_channels": 4, **SHAPES[name].vae})
    assert sum(p.numel() for p in unet.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
    assert sum(p.numel() for p in vae.parameters()) / 1e6 == pytest.approx(83.65, abs=0.1)
