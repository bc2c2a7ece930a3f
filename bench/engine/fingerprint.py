"""The fingerprint of a run: a hash of its suite, its sources, its weights and its data."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path

from bench.config.suite import Suite
from bench.core.digest import digest_of, file_digest
from bench.core.provenance import package_versions


def fingerprint(suite: Suite, only: Mapping[str, Set[str]]) -> str:
    """Return the hash of all that could change a run's outcome; only plug-ins of other packages are imported.

    Args:
        suite: the suite.
        only: as `bench.engine.cells.cells`.
    """
    from bench.config.prompt_set import read_prompt_set
    from bench.core.plugins import ROOT
    from bench.data.assembly import stamp
    from bench.engine.plugin_record import plugins_of
    from bench.models import model_folder

    sources = [p for d in ("bench", "methods", "evaluators") for p in sorted((ROOT / d).rglob("*.py"))]
    assets = sorted(p for p in (ROOT / "bench" / "assets").rglob("*") if p.suffix in (".safetensors", ".npy"))
    model = sorted(
        p for p in model_folder(suite.model.name).rglob("*") if p.suffix in (".json", ".safetensors", ".txt")
    )
    statistics = [p for s in suite.statistics.values() if (p := Path(s.file).expanduser()).is_file()]
    plugins = plugins_of(suite)
    return digest_of(
        {
            **({"plugins": plugins} if plugins else {}),
            "suite": suite.model_dump(mode="json", by_alias=True),
            "only": {k: sorted(v) for k, v in only.items()},
            "files": [file_digest(p) for p in (*sources, *assets, *model, *statistics)],
            "data": {name: stamp(source) for name, source in suite.data.items()},
            "prompts": read_prompt_set(suite.prompts).model_dump() if suite.prompts else None,
            "versions": package_versions(),
        }
    )
