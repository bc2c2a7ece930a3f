"""A run that has not begun, and its forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.config.suite import Suite
from bench.engine.options import Options

if TYPE_CHECKING:
    from bench.estimate.forecast import Forecast


@dataclass(frozen=True)
class Plan:
    """A run that has not begun.

    Attributes:
        suite: what to run.
        options: how to run it.
    """

    suite: Suite
    options: Options

    def forecast(self) -> Forecast:
        """Predict the cells that would run, what the store has of them, hours, GiB and memory. Nothing is sampled.

        Raises:
            ConfigError: something in the suite cannot be run.
        """
        from bench.estimate.forecast import forecast_run

        return forecast_run(self.suite, self.options)
