"""Every check of a results file, in order; what one finds missing, the next ones do without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.config.suite import Suite, list_suites, read_suite
from bench.core.errors import ConfigError
from bench.engine.keys import PROTOCOL
from bench.results.run import Run
from bench.verification.check import Check
from bench.verification.table import check_protocol, check_rows, check_shares

if TYPE_CHECKING:
    from bench.engine.preflight import RunPlan


@dataclass(frozen=True)
class Verification:
    """The checks of a results file, in order."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """True if no check differs; what this machine cannot check does not count."""
        return all(check.verdict != "differs" for check in self.checks)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per check: name, verdict ("ok", "differs" or "not checkable") and what was compared."""
        return pd.DataFrame([asdict(check) for check in self.checks])


def verify(path: Path, suite_name: str | None, resample: int) -> Iterator[Check]:
    """Check a results file; the store is looked for beside its folder.

    Args:
        path: a results.csv, or the folder that holds it.
        suite_name: the suite that it is of, where the file does not name a shipped one.
        resample: number of images to draw again; 0 draws none.

    Raises:
        ConfigError: `resample` is negative; no results file, or one that cannot be true (`bench.results.read.read_results`); or a suite that
            cannot be run here.
    """
    if resample < 0:
        raise ConfigError(f"--resample must be at least 0, got {resample}")
    run = Run.open(path)
    rows, file = run.rows, run.file
    suite, why = find_suite(str(rows["suite"].iloc[0]), suite_name)
    yield Check("table", "ok", f"{len(rows)} rows, every field of its kind, every interval around its value")
    yield check_protocol(rows, PROTOCOL)
    yield check_shares(rows)
    yield check_rows(rows)
    plan = _plan(suite, file) if suite is not None else None
    from bench.verification.keys import check_keys

    yield check_keys(run, {} if plan is None else plan.context.learning_digests)
    if suite is None or plan is None:
        for name in ("cells", "settings", "weights", "store", "calls", "numbers"):
            yield Check(name, "not checkable", why)
        return
    from bench.verification.prompts import check_prompts, with_file_keys
    from bench.verification.recompute import check_numbers, check_settings, check_store, pair

    cells, check = pair(file, plan)
    yield check
    if run.has_prompts and suite.prompts is not None:
        cells = with_file_keys(run, cells)
        yield check_prompts(run, cells)
    yield from check_settings(suite, cells)
    whole, check = check_store(cells, plan.resources)
    yield check
    yield from check_numbers(suite, whole, plan.resources, file)
    if resample:
        from bench.verification.resample import check_images

        yield check_images(whole, resample, plan.resources)


def find_suite(named: str, given: str | None) -> tuple[Suite | None, str]:
    """The suite of a file, or why there is none."""
    if given is not None:
        return read_suite(given), ""
    if named in list_suites():
        return read_suite(named), ""
    return None, f"no suite {named!r} is shipped; give its file with --suite"


def _plan(suite: Suite, file: Path) -> RunPlan:
    from bench.engine.options import Options
    from bench.engine.preflight import preflight

    plan = preflight(suite, Options(file.resolve().parent.parent))
    plan.draw_images()
    return plan
