"""Whether a finished run would come out the same: a hash of its suite, its sources, its weights and its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.files import digest_of, file_digest
from bench.suite import Suite

# What the numbers of a run depend on.
PACKAGES = (
    *("torch", "diffusers", "transformers", "open_clip_torch", "numpy", "scipy", "clean-fid", "timm"),
    *("dicebear-core", "resvg-py"),
)


def fingerprint(suite: Suite, only: Mapping[str, set[str]]) -> str:
    """Hash of all that could change a run's outcome, without importing any of it.

    Args:
        suite: the suite.
        only: as `bench.suite.cells`.
    """
    from bench.data.assembly import stamp
    from bench.discovery import ROOT
    from bench.models import model_folder
    from bench.prompt_sets import read_prompt_set

    sources = [p for d in ("bench", "methods", "evaluators") for p in sorted((ROOT / d).rglob("*.py"))]
    assets = sorted(p for p in (ROOT / "bench" / "assets").rglob("*") if p.suffix in (".safetensors", ".npy"))
    model = sorted(
        p for p in model_folder(suite.model.name).rglob("*") if p.suffix in (".json", ".safetensors", ".txt")
    )
    statistics = [p for s in suite.statistics.values() if (p := Path(s.file).expanduser()).is_file()]
    return digest_of(
        {
            "suite": suite.model_dump(mode="json", by_alias=True),
            "only": {k: sorted(v) for k, v in only.items()},
            "files": [file_digest(p) for p in (*sources, *assets, *model, *statistics)],
            "data": {name: stamp(source) for name, source in suite.data.items()},
            "prompts": read_prompt_set(suite.prompts).model_dump() if suite.prompts else None,
            "versions": versions_of(PACKAGES),
        }
    )


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Versions of packages; "absent" where one is not installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
