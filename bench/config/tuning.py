"""The key `tuning` of a suite: one budget and one rule of choice for every method that is tuned."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field

from bench.config.limits import Images, Seeds
from bench.core.yaml_models import Strict


class TuningChoice(Strict):
    """The budget and the rule by which methods get their settings, the same for all of them.

    Attributes:
        trials: settings per method, its defaults included.
        n: samples per trial and seed, at least a guidance batch; per prompt, where the suite has prompts.
        seeds: of noise and fits; none of them may be a seed of the suite.
        frechet_factor: a setting may be chosen if its Frechet distance to the first reference set is at most this
            factor of vanilla's on the same seeds.
        per: "task" chooses a setting for each task, "suite" one for all of them.
    """

    trials: int = Field(ge=1)
    n: Images
    seeds: Seeds = (1000,)
    frechet_factor: float = Field(1.15, gt=0, allow_inf_nan=False)
    per: Literal["task", "suite"] = "task"

    def check_beside(self, seeds: Collection[int], guidance_batch: int) -> None:
        """Refuse a tuning on the noise of the evaluation, or in smaller guidance batches.

        Args:
            seeds: of the suite.
            guidance_batch: samples that the suite steers together.

        Raises:
            ValueError: a seed of the tuning is one of the suite, or `n` is smaller than a guidance batch.
        """
        shared = sorted({*self.seeds} & {*seeds})
        if shared:
            raise ValueError(
                f"its seeds must not be among the suite's, got {shared} in both; a setting chosen on the evaluation's "
                "noise looks better than it is, so choose others, such as [1000]"
            )
        if self.n < guidance_batch:
            raise ValueError(
                f"its n must be at least guidance_batch = {guidance_batch}, so that methods are tuned in the batches "
                f"that they run in, got {self.n}"
            )
