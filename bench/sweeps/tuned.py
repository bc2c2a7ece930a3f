"""The settings that a tuning chose: filled into the suite that is run, and compared with what they give there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.config.suite import Suite
from bench.core.errors import ConfigError
from bench.engine import runner
from bench.engine.options import Options
from bench.engine.runner import Outcome
from bench.estimate.show import warn_of_memory
from bench.report.plots.pictures import draw_pictures
from bench.results.run import Run
from bench.results.tuning import NAME, TuningRow, chosen_fields, evaluated, frame, read_tuning, write_tuning


@dataclass(frozen=True)
class Tuning:
    """A finished tuning.

    Attributes:
        file: tuning.csv in the folder of the suite's run.
        rows: one per task, method and setting.
        note: what the values of the chosen settings can be used for.
    """

    file: Path
    rows: tuple[TuningRow, ...]
    note: str

    def to_frame(self) -> pd.DataFrame:
        """Return one row per task, method and setting, with the columns of tuning.csv."""
        return frame(self.rows)


def tune_suite(suite: Suite, options: Options) -> Tuning:
    """Tune the methods of a suite, or what is missing of it, and write tuning.csv to the folder of the suite's run.

    Raises:
        ConfigError: something in the suite or the options cannot be run here; nothing is sampled.
        UnknownName: a search space names no field.
    """
    from bench.sweeps.tuning import plan_tuning, tune

    file = options.out / suite.suite / NAME
    rows = evaluated(tune(plan_tuning(suite), options), _finished(file))
    write_tuning(file, rows)
    return Tuning(file, tuple(rows), _note(rows[0]))


def _note(row: TuningRow) -> str:
    return (
        f"Settings were chosen on seed {row.seeds}: the values above are biased by the choice. `run` measures the "
        f"chosen settings on the suite's seeds, and adds evaluation and gap to {NAME}."
    )


def with_chosen(suite: Suite, options: Options) -> Suite:
    """Return the suite with the settings that its finished tuning chose.

    A tuned method that records its settings, as in run.json, keeps them; so does one that `options.only` leaves out.

    Raises:
        ConfigError: the tuning is missing, unreadable, or of another suite.
    """
    chosen_titles = options.only.get("method")
    open_titles = {m.title for m in suite.methods if m.tuned and not m.chosen}
    if not (open_titles if chosen_titles is None else open_titles & chosen_titles):
        return suite
    from bench.sweeps.tuning import plan_tuning

    file = options.out / suite.suite / NAME
    advice = f"run `run_bench.py tune` on the suite first, with --out {options.out}"
    if not file.is_file():
        raise ConfigError(f"suite {suite.suite} has methods to tune and no finished tuning in {file}; {advice}")
    rows = read_tuning(file)
    if {row.tuning_sha256 for row in rows} != {plan_tuning(suite).key}:
        raise ConfigError(
            f"{file} is the tuning of another suite, or its methods, spaces or budget have changed since; {advice}"
        )
    chosen = chosen_fields(rows)
    if not open_titles <= chosen.keys():
        raise ConfigError(f"{file} has no chosen setting of {sorted(open_titles - chosen.keys())[0]}; {advice}")
    methods = [m.model_copy(update={"chosen": chosen[m.title]}) if m.title in open_titles else m for m in suite.methods]
    return suite.model_copy(update={"methods": tuple(methods)})


def run_tuned(suite: Suite, options: Options) -> Outcome:
    """Run a suite, its tuned methods with the settings of its finished tuning, and draw the pictures of its tables.

    Raises:
        ConfigError: as `with_chosen` and `bench.engine.runner.run`.
    """
    outcome = runner.run(with_chosen(suite, options), options, draw=draw_pictures, before=warn_of_memory)
    report_gaps(outcome.folder)
    return outcome


def report_gaps(folder: Path) -> None:
    """Add the evaluation and the gap of every setting that a finished run has to the tuning.csv beside it, if any."""
    file = folder / NAME
    if file.is_file():
        rows = read_tuning(file)
        complete = evaluated(rows, _finished(file))
        if complete != rows:
            write_tuning(file, complete)


def _finished(file: Path) -> Run | None:
    return Run.open(file.parent) if (file.parent / "results.csv").is_file() else None
