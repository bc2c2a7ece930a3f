"""Limits of the numbers of a suite: what tables can hold, and what a run can plan."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

LARGEST_SEED = 2**53  # above it a float64, which most readers of a CSV take, does not hold every whole number
MOST_IMAGES = 10_000_000  # of one cell or set: a plan lists its guidance batches, and arrays have a row per image


def check_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Return seeds that are different and that every table holds to the digit.

    Raises:
        ValueError: two are equal, or one is below 0 or above 2^53.
    """
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"the seeds must be different and >= 0, got {list(seeds)!s:.200}")
    if max(seeds) > LARGEST_SEED:
        raise ValueError(f"a seed must be at most 2^53 = {LARGEST_SEED}, as far as tables are exact, got {max(seeds)}")
    return seeds


Seeds = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(check_seeds)]
Images = Annotated[int, Field(ge=1, le=MOST_IMAGES)]
