"""`run_bench.py profile`: the clock, the counts and the files. How long anything takes is measured, never asserted."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.config.build import build_method
from bench.config.suite import read_suite
from bench.engine.options import Options
from bench.engine.preflight import preflight
from bench.models.unet import load_unet
from bench.profiling import clock as clocks
from bench.profiling import measure
from bench.profiling.clock import Clock
from bench.profiling.flops import FlopCounter
from bench.profiling.rows import Row, summary, with_ratios
from bench.profiling.timed import Timed, sample_timed, watched
from bench.protocols.method import Batch, Guided
from bench.sampling.loop import sample_batch
from tests.support.ratios import measured, report
from tests.support.runs import Call, caller, refusal
from tests.support.small import save_tiny_unet, small_suite

CPU = torch.device("cpu")
STEPS = 3
METHODS = [{"name": "vanilla"}, {"name": "universal_guidance"}]
call = pytest.fixture(caller)


def suite_file(folder: Path, **changes: Any) -> Path:
    """A suite of two methods that need no labelled faces."""
    return small_suite(
        folder, **{"methods": METHODS, "labelled": None, "tasks": [{"attributes": ["eyeglasses"]}], **changes}
    )


@pytest.fixture
def tick(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that stands still until it is moved on."""
    time = [100.0]
    monkeypatch.setattr(clocks, "now_on", lambda _device: time[0])

    def on(seconds: float) -> None:
        time[0] += seconds

    return on


def test_a_stage_within_another_takes_its_time_out_of_it(tick: Callable[[float], None]) -> None:
    clock = Clock(CPU)
    tick(5)  # before the first stage nothing runs
    clock.enter("noise")
    tick(1)
    for step in range(2):
        clock.enter("guidance")
        tick(2)
        with clock.within("unet"):
            tick(4)
            with clock.within("guidance"):
                tick(8)
            tick(16)
        tick(32)
        clock.enter("scheduler")
        tick(64 * (step + 1))
        clock.end_step()
    tick(128)
    clock.enter(None)
    tick(1000)  # after the last stage neither
    assert clock.seconds == {"noise": 1, "guidance": 2 * 42, "unet": 2 * 20, "scheduler": 64 + 128 + 128}
    assert sum(clock.seconds.values()) == 1 + 2 * 62 + 64 + 128 + 128
    assert [{k: v for k, v in step.items() if k != "noise"} for step in clock.steps] == [
        {"guidance": 42, "unet": 20, "scheduler": 64},
        {"guidance": 42, "unet": 20, "scheduler": 128},
    ]


@pytest.mark.parametrize(
    ("layer", "shape", "operations"),
    [
        (nn.Linear(7, 5), (3, 7), 2 * 3 * 7 * 5),
        (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 8, 8), 2 * 2 * 6 * 8 * 8 * 4 * 3 * 3),
        (nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 8, 8), 2 * 2 * 6 * 8 * 8 * 2 * 3 * 3),
    ],
)
def test_operations_of_a_layer_are_its_closed_form(layer: nn.Module, shape: tuple[int, ...], operations: int) -> None:
    with FlopCounter() as counter:
        clock = Clock(CPU, counter.get_total_flops)
        with clock.within("unet"):
            layer(torch.zeros(shape))
        with clock.within("guidance"):
            layer(torch.zeros(shape))
            layer(torch.zeros(shape))
    assert clock.flops == {"unet": operations, "guidance": 2 * operations}


def test_operations_of_attention_and_of_a_gradient_at_a_leaf_are_counted() -> None:
    n, heads, tokens, width = 2, 4, 16, 8
    q = torch.zeros(n, heads, tokens, width)
    with FlopCounter() as counter:
        nn.functional.scaled_dot_product_attention(q, q, q)
    assert counter.get_total_flops() == 2 * 2 * n * heads * tokens * tokens * width
    layer, x = nn.Linear(7, 5), torch.zeros(3, 7, requires_grad=True)
    with FlopCounter() as counter:
        torch.autograd.grad(layer(x).sum(), x)  # torch's tally by module refuses this
    assert counter.get_total_flops() == 2 * (2 * 3 * 7 * 5)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, measure.Built]:
    """Both methods on the tiny network, by name."""
    folder = tmp_path_factory.mktemp("profile")
    plan = preflight(read_suite(str(suite_file(folder, sampler={"steps": STEPS}))), Options(folder / "out"))
    model = load_unet(folder / "model")
    return {job.cell.method: measure.build(plan.resources, job, model)[0] for job in plan.jobs}


@pytest.mark.parametrize("name", ["vanilla", "universal_guidance"])
def test_counts_are_those_that_the_method_declares(built: dict[str, measure.Built], name: str) -> None:
    rows = {row.stage: row for row in measure.measure(built[name], 2, 1)}
    method = built[name]
    traits = build_method(name, method.job.cell.fields).traits
    timesteps = method.sampler.timesteps(method.model)  # type: ignore[arg-type]
    guided = sum(float(method.model.alphas_cumprod[t]) > 0 for t in timesteps)
    assert guided < STEPS  # the first step is at zero signal, where nothing is guided
    whole, repeats = rows["sampling"], method.guided.repeats
    assert whole.nfe_per_image == STEPS * traits.calls * repeats
    assert whole.backward_per_image == guided * traits.backward * repeats
    assert ("unet_backward" in rows) is (traits.backward > 0)
    assert rows["unet"].measured == STEPS
    # The whole is the parts, each as often as it comes: those of a step are averages, rounded down.
    parts = [(row.flops or 0) * (STEPS if row.per == "step" else 1) for row in rows.values() if row.stage != "sampling"]
    assert whole.flops is not None
    assert 0 <= whole.flops - sum(parts) < 4 * STEPS
    forward = measure_forward(method, 2)
    assert rows["unet"].flops == forward * repeats
    assert {row.setting for row in rows.values()} == {("cpu", 2, STEPS)}


def measure_forward(built: measure.Built, n: int) -> int:
    """Operations of one pass of the network, without any of this."""
    x, zero = torch.zeros(n, *built.model.shape), torch.zeros(n, dtype=torch.long)
    with FlopCounter() as counter, torch.no_grad():
        built.model.model.denoise(x, zero, zero)  # type: ignore[call-arg]
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", ["vanilla", "universal_guidance"])
def test_images_under_the_clock_are_the_same(built: dict[str, measure.Built], name: str) -> None:
    method, batch = built[name], built[name].batch(3)
    model: Any = method.model
    clock = Clock(CPU)
    images = sample_timed(method.model, method.guided, method.sampler, batch, 0, clock, network_only=False)
    x = sample_batch(model, method.guided.denoise, method.sampler, batch, 0, method.guided.repeats)
    assert torch.equal(images, model.decode(x))
    assert method.model.clock is None
    assert len(clock.steps) == STEPS
    assert set(clock.seconds) >= {"noise", "unet", "guidance", "scheduler", "decode"}


def test_what_a_bottleneck_does_is_guidance(tmp_path: Path, tick: Callable[[float], None]) -> None:
    model = Timed(load_unet(save_tiny_unet(tmp_path / "model")))
    clock = model.clock = Clock(CPU)

    def push(h: torch.Tensor) -> torch.Tensor:
        tick(7)
        return h

    zero = torch.zeros(2, dtype=torch.long)
    clock.enter("guidance")
    model.denoise(torch.zeros(2, *model.shape), zero, zero, push)
    clock.enter(None)
    assert clock.seconds["guidance"] == 7
    assert clock.seconds["unet"] == 0  # no other time has passed


def test_the_whole_denoiser_of_a_trained_network_is_the_network(tick: Callable[[float], None]) -> None:
    def denoise(x: torch.Tensor, _t: int, _batch: Batch) -> torch.Tensor:
        tick(3)
        return x

    for network_only, stage in ((True, "unet"), (False, "guidance")):
        clock = Clock(CPU)
        watched(denoise, clock, network_only)(torch.zeros(1), 0, Batch(torch.zeros(1), torch.zeros(1), 1))
        tick(5)
        clock.enter(None)
        assert clock.seconds == {stage: 3, "scheduler": 5}


def test_medians_and_ratios() -> None:
    assert summary([4.0, 1.0, 2.0, 3.0, 10.0]) == {
        **{"seconds": 3.0, "seconds_q1": 2.0, "seconds_q3": 4.0, "measured": 5},
    }
    plain, other = (Row(m, "cpu", 8, 3, "sampling", "batch", s) for m, s in (("plain", 2.0), ("other", 5.0)))
    alone = dataclasses.replace(other, batch=16)
    assert [row.ratio_to_vanilla for row in with_ratios([plain, other, alone], "plain")] == [1.0, 2.5, None]
    assert [row.ratio_to_vanilla for row in with_ratios([plain, other], None)] == [None, None]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def test_a_profile_from_the_command_line(call: Call, tmp_path: Path) -> None:
    suite, out = suite_file(tmp_path, n=4, guidance_batch=2, sampler={"steps": 2}), tmp_path / "out"
    # Nothing has been run yet, so no evaluation can be measured.
    options = ("--batch", "1,2", "--rounds", "1", "--out", out)
    code, printed, said = call("profile", suite, *options, "--steps", "2,1", "--method", "vanilla", "--trace")
    assert (code, said) == (0, "")
    assert "run the suite first for: vanilla" in printed
    folder = out / "small" / "profile"
    rows = table(folder / "profile.csv")
    assert list(rows[0]) == [field.name for field in dataclasses.fields(Row)]
    whole = [row for row in rows if row["stage"] == "sampling"]
    assert [(row["steps"], row["batch"]) for row in whole] == [("2", "1"), ("2", "2"), ("1", "1"), ("1", "2")]
    for row in whole:
        assert float(row["images_per_second"]) == pytest.approx(int(row["batch"]) / float(row["seconds"]))
        assert float(row["ratio_to_vanilla"]) == 1.0
        assert 0 <= float(row["unaccounted"]) < 0.05  # of a pass and of its own parts, so no busy machine moves it
        assert float(row["clock_cost"]) > -1
        assert float(row["peak_rss_mib"]) > 0
        assert row["peak_device_mib"] == ""
    events = json.loads((folder / "trace-vanilla-cpu-2-steps.json").read_text())["traceEvents"]
    assert any("conv" in str(event.get("name")) for event in events)
    # Once the suite has been run, its cells can be evaluated again, and drawn against what they cost.
    assert call("run", suite, "--workers", "1", "--out", out)[0] == 0
    code, printed, said = call("profile", suite, *options, "--run", out / "small")
    assert (code, said) == (0, "")
    assert "run the suite first" not in printed
    rows = table(folder / "profile.csv")
    assert [row["method"] for row in rows if row["stage"] == "evaluate"] == ["vanilla", "universal_guidance"]
    names = ("throughput", "stages", "latency-discrepancy")
    assert all((folder / f"{name}.{kind}").stat().st_size > 1000 for name in names for kind in ("png", "pdf"))


def test_what_was_measured_outlives_an_interrupt(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure.measure

    def stop(built: measure.Built, size: int, rounds: int) -> list[Row]:
        if size == 2:
            raise KeyboardInterrupt
        return whole(built, size, rounds)

    monkeypatch.setattr(measure, "measure", stop)
    out = tmp_path / "out"
    code, _, said = call("profile", suite_file(tmp_path, methods=METHODS[:1]), "--batch", "1,2", "--out", out)
    assert code == 130
    assert said.startswith(f"interrupted; what was measured is in {out}")
    assert {row["batch"] for row in table(out / "small" / "profile" / "profile.csv")} == {"", "1"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--batch", "0"), "--batch must be at least 1, got 0"),
        (("--batch", "4,4"), "--batch must name every number once, got 4,4"),
        (("--batch", "x"), "--batch must be whole numbers with commas between, such as 1,16,64, got 'x'"),
        (("--batch", ""), "--batch must name at least one number"),
        (("--rounds", "0"), "--rounds must be at least 1, got 0"),
        (("--steps", "1001"), "steps must be 1 to 1000"),
        (("--method", "vanila"), "unknown method of suite small 'vanila'; did you mean 'vanilla'"),
        (("--device", "nonsense"), "device 'nonsense' cannot be used here"),
        (("--run", "/no/such"), "no run at /no/such"),
        (("--run", "leaderboards/quick"), "was sampled in 20 steps, which are not measured; add --steps 20"),
    ],
)
def test_a_bad_choice_is_refused(call: Call, tmp_path: Path, options: tuple[str, ...], sentence: str) -> None:
    out = tmp_path / "out"
    assert sentence in refusal(call("profile", suite_file(tmp_path), "--out", out, *options))
    assert not out.exists()


def test_a_method_that_cannot_be_built_is_said(call: Call, tmp_path: Path) -> None:
    """The tiny network takes no conditions, and attribute switching asks for them."""
    suite = suite_file(tmp_path, methods=[*METHODS[:1], {"name": "attribute_switching"}])
    code, printed, _ = call("profile", suite, "--batch", "1", "--rounds", "1", "--out", tmp_path / "out")
    assert code == 0
    assert "skipped: attribute_switching: " in printed


def test_a_sampler_that_repeats_steps_counts_them(built: dict[str, measure.Built]) -> None:
    """Re-noising is the scheduler's; a step that is taken twice is one step of two passes."""
    method = built["vanilla"]
    twice = dataclasses.replace(method, guided=Guided(method.guided.denoise, repeats=2))
    rows = {row.stage: row for row in measure.measure(twice, 1, 1)}
    assert rows["sampling"].nfe_per_image == 2 * STEPS
    assert rows["unet"].flops == 2 * measure_forward(method, 1)
    assert method.sampler.steps == STEPS


def test_ratios_of_benchmarks_are_shown_beside_the_baseline(tmp_path: Path) -> None:
    file = tmp_path / "new.json"
    extra = {"ratio": 1.5, "processor_ratio": 1.25, "step_seconds": {"ours": 1.0}}
    file.write_text(json.dumps({"benchmarks": [{"name": "a", "extra_info": extra}, {"name": "b", "extra_info": {}}]}))
    new = measured(file)
    assert new == {"a": {"ratio": 1.5, "processor_ratio": 1.25}}  # b times nothing beside anything
    (line,) = report(new, {"a": {"ratio": 1.2, "processor_ratio": 1.25}})[1:]
    assert line.split() == ["a", "1.500", "+25.0%", "1.250", "+0.0%"]
    assert report(new, {})[1].split() == ["a", "1.500", "new", "1.250", "new"]
