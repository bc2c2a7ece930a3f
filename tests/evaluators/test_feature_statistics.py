"""Files of mean and covariance: others read ours, we read theirs, and a suite measures against them."""

from __future__ import annotations

import csv
import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cleanfid.fid
import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from bench.config.components import ExtractorChoice
from bench.config.suite import read_suite
from bench.core.errors import ConfigError
from bench.core.gaussian import Gaussian, fit
from bench.protocols.evaluator import Reference, Sample
from bench.storage import gaussian_files
from bench.storage.gaussian_files import read_statistics, write_statistics
from evaluators import inception
from evaluators.fd_infinity import Evaluator as FdInfinity
from evaluators.features import comparisons
from evaluators.features.frechet_distance import frechet_distance
from evaluators.frechet import Evaluator as Frechet
from evaluators.kid import Evaluator as Kid
from tests.support.backbones import pictures, save_detector, save_pngs
from tests.support.runs import caller, refusal
from tests.support.small import small_suite

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 5)), 1.5 * RNG.standard_normal((80, 5)) + 0.5
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def pytorch_fid(path: Path, features: np.ndarray) -> float:
    """Its reading of a file, and its formula: the trace by a matrix square root."""
    with np.load(path) as f:
        m1, s1 = f["mu"][:], f["sigma"][:]
    m2, s2 = np.mean(features, axis=0), np.cov(features, rowvar=False)
    root = sqrtm(s1.dot(s2)).real
    return float((m1 - m2) @ (m1 - m2) + np.trace(s1) + np.trace(s2) - 2 * np.trace(root))


def measured(features: np.ndarray, fitted: Gaussian) -> dict[str, Any]:
    sample = Sample({}, {"net": features}, np.zeros(len(features), dtype=np.int64))
    reference = Reference((), np.ones(1), statistics={"net": {"file": fitted}})
    actual = [s for e in (Frechet(), FdInfinity()) for s in e.evaluate(sample, reference)]
    assert {s.scope for s in actual} == {"file"}
    return {s.metric: s for s in actual}


def test_ours_come_back_and_pytorch_fid_finds_the_same_distance(tmp_path: Path) -> None:
    path = tmp_path / "a" / "y.npz"
    write_statistics(path, fit(Y), "digest")
    actual, extractor = read_statistics(path)
    assert extractor == "digest"
    assert np.array_equal(actual.mean, fit(Y).mean)
    np.testing.assert_allclose(actual.covariance, fit(Y).covariance, rtol=1e-14)
    assert frechet_distance(X.mean(axis=0), np.cov(X.T), actual.mean, actual.covariance) == pytest.approx(
        pytorch_fid(path, X), rel=1e-8
    )


def test_distances_to_a_file_are_those_to_the_images_it_was_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "INTERVAL_N", 20)  # so that 60 samples have intervals to compare
    path = tmp_path / "y.npz"
    np.savez(path, mu=Y.mean(axis=0), sigma=np.cov(Y.T))  # as pytorch-fid writes it
    actual = measured(X, read_statistics(path)[0])
    sample = Sample({}, {"net": X}, np.zeros(60, dtype=np.int64))
    for evaluator in (Frechet(), FdInfinity()):
        (expected,) = evaluator.evaluate(sample, Reference((), np.ones(1), {"net": {"file": Y}}))
        score = actual[expected.metric]
        ends = (score.value, score.ci_low, score.ci_high)
        assert ends == pytest.approx((expected.value, expected.ci_low, expected.ci_high), rel=1e-9)
    assert actual["frechet_net"].value == pytest.approx(pytorch_fid(path, X), rel=1e-8)


def test_sets_come_before_files_and_what_needs_images_has_no_score_of_a_file() -> None:
    sample = Sample({}, {"net": X, "eye": X}, np.zeros(60, dtype=np.int64))
    reference = Reference(
        (), np.ones(1), {"net": {"set": Y}}, statistics={"net": {"file": fit(Y)}, "eye": {"b": fit(X)}}
    )
    scores = Frechet().evaluate(sample, reference)
    named = [("frechet_net", "set"), ("frechet_net", "file"), ("frechet_eye", "b")]
    assert [(s.metric, s.scope) for s in scores] == named
    assert scores[0].value == pytest.approx(scores[1].value)
    assert {s.scope for s in Kid().evaluate(sample, reference)} == {"set"}
    few = Sample({}, {"net": X[:19], "eye": X}, np.zeros(60, dtype=np.int64))
    assert [s.status for s in Frechet().evaluate(few, reference)] == ["undefined", "undefined", "ok"]
    narrow = Reference((), np.ones(1), statistics={"net": {"file": fit(Y[:, :3])}})
    with pytest.raises(ConfigError, match="width of reference set file, 3, got 5"):
        Frechet().evaluate(sample, narrow)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # of SciPy, called by clean-fid
def test_clean_fid_reads_ours_and_we_read_what_it_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own code of custom statistics, whose folder is beside its package."""
    fields = save_detector(tmp_path / inception.FILE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        layers = torch.jit.load(fields["weights"]).eval().layers

    def network(x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(layers((x - 128) / 128).flatten(1))

    monkeypatch.setattr(cleanfid, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(cleanfid.fid, "build_feature_extractor", lambda *_, **__: network)
    extractor, samples, reals = inception.Extractor(**fields), pictures(40, 0, dark=0.8), pictures(30, 1)
    folders = {"samples": save_pngs(tmp_path / "samples", samples), "reals": save_pngs(tmp_path / "reals", reals)}
    ours = extractor.extract(samples)["features"]

    cleanfid.fid.make_custom_stats("theirs", folders["reals"], num_workers=0, device=CPU, verbose=False)
    fitted, unknown = read_statistics(tmp_path / "stats" / "theirs_clean_custom_na.npz")
    assert unknown is None
    write_statistics(tmp_path / "stats" / "ours_clean_custom_na.npz", fit(extractor.extract(reals)["features"]), "x")
    values = [
        cleanfid.fid.compute_fid(
            folders["samples"], dataset_name=name, dataset_split="custom", num_workers=0, device=CPU, verbose=False
        )
        for name in ("theirs", "ours")
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert measured(ours, fitted)["frechet_net"].value == pytest.approx(values[0], rel=1e-6)


GOOD: dict[str, Any] = {"mu": np.zeros(3), "sigma": np.eye(3)}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no mu": ({"mean": np.zeros(3), "sigma": np.eye(3)}, r"got no mu among mean, sigma; give an \.npz"),
    "no sigma": ({"mu": np.zeros(3)}, "got no sigma among mu"),
    "features": (
        {"mu": np.zeros((7, 3)), "sigma": np.eye(3)},
        r"mu of .* must be \[d\] with d from 1 to 8192, got \[7, 3\]",
    ),
    "not square": ({**GOOD, "sigma": np.zeros((3, 4))}, r"sigma of .* must be \[d, d\] .* got \[3, 4\]"),
    "empty": ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, r"got \[0\]"),
    "wide": ({**GOOD, "mu": np.zeros(9000)}, r"got \[9000\]"),
    "widths": ({**GOOD, "mu": np.zeros(4)}, "must be of one width, got 4 and 3"),
    "integers": ({**GOOD, "mu": np.zeros(3, dtype=np.int64)}, "mu of .* must be float32 or float64, got int64"),
    "half": ({**GOOD, "sigma": np.eye(3, dtype=np.float16)}, "must be float32 or float64, got float16"),
    "complex": ({**GOOD, "sigma": np.eye(3, dtype=complex)}, "must be float32 or float64, got complex128"),
    "nan": ({**GOOD, "mu": np.array([0, np.nan, 0])}, "must be finite"),
    "infinite": ({**GOOD, "sigma": np.diag([1, np.inf, 1])}, "must be finite"),
    "asymmetric": (
        {**GOOD, "sigma": np.eye(3) + 0.1 * np.eye(3, k=1)},
        "must be symmetric, got entries that differ by 0.1",
    ),
    "negative": ({**GOOD, "sigma": np.diag([1.0, 1.0, -0.1])}, r"must have no negative eigenvalue, got -0\.1 beside 1"),
    "extractor": ({**GOOD, "extractor": np.zeros(5)}, "its extractor must be one short text, got float64"),
}


@pytest.mark.parametrize(("arrays", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_fit_is_refused(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(ConfigError, match=sentence) as caught:
        read_statistics(tmp_path / "s.npz")
    assert "\n" not in str(caught.value)


def test_rounding_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """Singular, in either byte order, of float32 means beside float64 covariances as clean-fid writes them."""
    features = np.random.default_rng(1).standard_normal((4, 9))
    sigma = np.cov(features.T)
    sigma[0, 1] += 1e-12
    np.savez(tmp_path / "s.npz", mu=features.mean(axis=0).astype(np.float32), sigma=sigma.astype(">f8"))
    actual, _ = read_statistics(tmp_path / "s.npz")
    assert actual.mean.dtype == actual.covariance.dtype == np.float64
    assert np.array_equal(actual.covariance, actual.covariance.T)
    np.savez(tmp_path / "flat.npz", mu=np.zeros(2), sigma=np.zeros((2, 2)))
    assert not read_statistics(tmp_path / "flat.npz")[0].covariance.any()


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return pytest.fail, ("a pickle was run",)

    np.savez(tmp_path / "s.npz", mu=np.zeros(3), sigma=np.array([[Trap()]], dtype=object))
    with pytest.raises(ConfigError, match="must be float32 or float64, got object"):
        read_statistics(tmp_path / "s.npz")


def test_a_size_is_known_before_it_is_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that promises terabytes, over no data at all."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
        small = io.BytesIO()
        np.lib.format.write_array(small, np.zeros(3))
        archive.writestr("mu.npy", small.getvalue())
        archive.writestr("sigma.npy", header.getvalue())
    with pytest.raises(ConfigError, match=r"got \[1000000, 1000000\]"):
        read_statistics(tmp_path / "s.npz")
    monkeypatch.setattr(gaussian_files, "MAX_WIDTH", 2)
    np.savez(tmp_path / "s.npz", **GOOD)
    with pytest.raises(ConfigError, match=r"with d from 1 to 2, got \[3\]"):
        read_statistics(tmp_path / "s.npz")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    with pytest.raises(ConfigError, match=r"no file .*s\.npz; give an \.npz with mu \[d\]"):
        read_statistics(path)
    np.savez(path, **GOOD)
    whole = path.read_bytes()
    damaged = [
        b"",
        b"<html>",
        whole[: len(whole) // 2],
        whole.replace(b"NUMPY", b"NUMPX"),
        whole[:80] + b"!" + whole[81:],
    ]
    damaged.append(whole.replace(np.eye(3).tobytes(), np.eye(3)[::-1].tobytes()))  # its checksum tells
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"cannot read .*s\.npz: ") as caught:
            read_statistics(path)
        assert "\n" not in str(caught.value)


FEATURES = {"name": "clip_features", "label": "tower"}


def suite_with(folder: Path, **changes: Any) -> Path:
    inputs = {"real": {"file": str(folder / "real.npz"), "features": "tower"}}
    common: dict[str, Any] = {"methods": [{"name": "vanilla"}], "tasks": [{"attributes": ["eyeglasses"]}]}
    measured = {"features": [FEATURES], "metrics": ["frechet"], "statistics": inputs}
    return small_suite(folder, **common, **{**measured, **changes})


def results(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (out / "small" / "results.csv").open(newline="") as f:
        return {(row["metric"], row["scope"]): row for row in csv.DictReader(f)}


def test_a_set_written_by_the_command_measures_a_run_as_the_set_does(tmp_path: Path, call: Call) -> None:
    file, out = tmp_path / "real.npz", tmp_path / "out"
    suite = suite_with(tmp_path, references={"avatars-balanced": 30})
    code, message, _ = call("statistics", "avatars-balanced", "--features", "clip_features", "--n", 30, "--out", file)
    assert (code, "mu [48] and sigma [48, 48] of clip_features" in message) == (0, True)
    assert call("run", suite, "--workers", "1", "--out", out)[0] == 0
    actual = results(out)
    value, expected = (actual["frechet_tower", scope]["value"] for scope in ("real", "avatars-balanced"))
    assert float(value) == pytest.approx(float(expected), rel=1e-9)

    # The samples of that run, as the next one's reference.
    samples = tmp_path / "samples.npz"
    assert call("statistics", out / "small", "--features", "clip_features", "--out", samples)[0] == 0
    shards = sorted((out / "store" / "features").glob("clip_features-*/samples/**/features.npy"))
    features = np.concatenate([np.load(path) for path in shards]).astype(np.float64)
    assert len(features) == 25
    with np.load(samples) as stored:
        np.testing.assert_allclose(stored["mu"], features.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(stored["sigma"], np.cov(features.T), rtol=1e-9, atol=1e-15)
    message = refusal(call("statistics", out / "small", "--features", "clip_features", "--out", samples, "--seed", 3))
    assert "unknown seed of" in message
    assert "known: 0" in message

    # Another file of that name is another reference: nothing of the old scores is kept.
    assert "nothing to do" in call("run", suite, "--workers", "1", "--out", out)[2]
    file.write_bytes(samples.read_bytes())
    assert call("run", suite, "--workers", "1", "--out", out)[0] == 0
    assert float(results(out)["frechet_tower", "real"]["value"]) == pytest.approx(0, abs=1e-4)


def test_a_file_of_features_that_are_skipped_is_not_asked_for_and_the_next_run_tries_again(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "DOWNLOADS", tmp_path)
    inputs = {"ffhq": {"file": "absent.npz", "features": "inception"}}
    suite = suite_with(tmp_path, features=["inception"], statistics=inputs)
    for _ in range(2):
        code, _, message = call("run", suite, "--workers", "1", "--out", tmp_path / "out")
        assert (code, "skipped: inception: " in message, "nothing to do" in message) == (0, True, False)
        assert results(tmp_path / "out")["", "inception"]["status"] == "skipped"


def test_a_suite_with_a_wrong_file_is_refused_before_anything_is_drawn(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.engine.worker._draw", lambda *_: pytest.fail("sampled before the input was checked"))
    file, out = tmp_path / "real.npz", tmp_path / "out"

    def refused(**changes: Any) -> str:
        return refusal(call("run", suite_with(tmp_path, **changes), "--workers", "1", "--out", out))

    assert "no file" in refused()
    np.savez(file, mu=np.zeros(3), sigma=np.eye(3))
    assert "must have the width of tower, 48, got 3" in refused()
    write_statistics(file, Gaussian(np.zeros(48), np.eye(48)), "another")
    assert "got those of an extractor with other weights or fields" in refused()
    inputs = {"file": str(file), "features": "tower"}
    assert "unknown features 'towr'; did you mean 'tower'?" in refused(
        statistics={"real": inputs | {"features": "towr"}}
    )
    assert "is a reference set already" in refused(
        statistics={"avatars-balanced": inputs}, references={"avatars-balanced": 30}
    )
    assert "unknown key 'statistics.real.fil'; did you mean 'file'?" in refused(
        statistics={"real": {"fil": "x", "features": "tower"}}
    )
    assert not out.exists()


def test_help_shows_an_example_and_the_list_has_the_backbones(call: Call) -> None:
    code, printed, _ = call("statistics", "--help")
    assert code == 0
    assert "Example: python run_bench.py statistics avatars-balanced --features" in printed
    _, printed, _ = call("list", "evaluators")
    assert all(name in printed for name in ("inception", "dinov2", "clip_features"))


def test_bad_input_of_the_command_ends_in_one_sentence(tmp_path: Path, call: Call) -> None:
    out = tmp_path / "s.npz"

    def said(*arguments: Any, features: str = "clip_features", to: Path = out) -> str:
        return refusal(call("statistics", *arguments, "--features", features, "--out", to))

    assert "--out must end in .npz" in said("avatars-balanced", to=tmp_path / "s.npy")
    assert "must be named, got 'avatars-balance'" in said("avatars-balance")
    assert "--seed is for a run, got it with the data set" in said("avatars-balanced", "--seed", 0)
    assert "--size is for a data set, got it with the run" in said(tmp_path, "--size", 32)
    assert "no results.csv in" in said(tmp_path)
    assert "unknown evaluator 'clip_featurs'" in said("avatars-balanced", features="clip_featurs")
    assert "an extractor with features must be named" in said("avatars-balanced", "--n", 2, features="attribute_cnn")
    assert "must be of 2 images or more, got 1" in said("avatars-balanced", "--n", 1)
    assert "unknown field of extractor clip_features 'modl'" in said("avatars-balanced", "--field", "modl=x")
    for field in ("model", "=x", "model=2024-01-01", "model=[", "model={a: 2024-01-01}"):
        assert "--field" in said("avatars-balanced", "--field", field)
    assert not out.exists()


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({}, "net"),
        ({"size": 64}, "net"),
        ({"model": "ViT-B-32-quickgelu", "pretrained": "openai"}, "net_ViT-B-32-quickgelu"),
        ({"model": "path:/some/where/vit b"}, "net_vit-b"),
        ({"model": "hub:timm/vit_base_patch14_dinov2.lvd142m@v1"}, "net_vit_base_patch14_dinov2.lvd142m"),
    ],
)
def test_a_column_says_whose_features_it_is_of(fields: dict[str, Any], title: str) -> None:
    choice = {"name": "dinov2", "with": fields}
    assert ExtractorChoice.model_validate(choice).spec.title == title.replace("net", "dinov2")
    assert ExtractorChoice.model_validate({**choice, "label": "mine"}).spec.title == "mine"


def test_a_suite_without_files_is_as_it_was(tmp_path: Path) -> None:
    assert read_suite(str(suite_with(tmp_path, statistics={}))).statistics == {}
