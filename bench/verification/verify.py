"""Every check of a finished run, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from pydantic import ValidationError

from bench.config.suite import Suite, list_suites, read_suite
from bench.core.errors import ConfigError
from bench.core.yaml_models import describe
from bench.engine.keys import PROTOCOL
from bench.results.run import Run
from bench.results.run_record import NAME
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


def verify(run: Run, suite: Suite | None = None, resample: int = 0, other_machine: bool = False) -> Iterator[Check]:
    """Check a finished run by itself and, where its store lies beside it, every number.

    Args:
        run: the finished run.
        suite: the suite that it is of; that of its run.json unless given, or the shipped one of its name.
        resample: number of images to draw again, in whole guidance batches; 0 draws none.
        other_machine: whether the store was made on another machine than the file; numbers may then differ by the
            tolerances of `bench.verification.tolerance`.

    Yields:
        The checks, in order; each does without what an earlier one could not read.

    Raises:
        ConfigError: `resample` is negative, run.json or prompts.csv cannot be read, or the suite cannot be run here.
    """
    if resample < 0:
        raise ConfigError(f"--resample must be at least 0, got {resample}")
    rows, file = run.rows, run.file
    reason = ""
    if suite is None:
        suite, reason = suite_of(run)
    yield Check("table", "ok", f"{len(rows)} rows, every field of its kind, every interval around its value")
    yield check_protocol(rows, PROTOCOL)
    yield check_shares(rows)
    yield check_rows(rows)
    plan = _plan(suite, file) if suite is not None else None
    from bench.verification.keys import check_keys

    yield check_keys(run, {} if plan is None else plan.context.learning_digests)
    if suite is None or plan is None:
        for name in ("cells", "settings", "weights", "store", "calls", "numbers"):
            yield Check(name, "not checkable", reason)
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
    yield from check_numbers(suite, whole, plan.resources, file, other_machine)
    if resample:
        from bench.verification.resample import check_images

        yield check_images(whole, resample, plan.resources)


def suite_of(run: Run) -> tuple[Suite | None, str]:
    """Return the suite of a run: that of its run.json, or the shipped one of its name; None with the reason otherwise.

    Raises:
        ConfigError: run.json cannot be read, or holds a suite that this bench does not understand.
    """
    if run.record is not None:
        try:
            return Suite.model_validate(run.record.suite), ""
        except ValidationError as error:
            raise ConfigError(describe(error, Suite, f"{run.file.parent / NAME}: suite")) from error
    name = str(run.rows["suite"].iloc[0])
    if name in list_suites():
        return read_suite(name), ""
    return None, f"no suite {name!r} is shipped and no {NAME} lies beside the tables; give its file with --suite"


def _plan(suite: Suite, file: Path) -> RunPlan:
    from bench.engine.options import Options
    from bench.engine.preflight import preflight

    plan = preflight(suite, Options(file.resolve().parent.parent))
    plan.draw_images()
    return plan
