"""What a comparison must know of a metric, by its name: results.csv has names and numbers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Better = Literal["lower", "higher"]
JACKKNIFE = 9.0  # degrees of freedom of the delete-a-group jackknife over ten groups


@dataclass(frozen=True)
class Metric:
    """A family of metrics.

    Attributes:
        better: the better direction; None where there is none, as of a share, or where it is not known.
        judged: whether it is computed from the judge's classes.
        freedom: degrees of freedom behind its interval.
        exact: whether it is counted, not estimated: any difference is a difference.
    """

    better: Better | None
    judged: bool = True
    freedom: float = math.inf
    exact: bool = False


# In this order: the first pattern that fits. The directions are those of the evaluators' cards (tests/test_compare.py).
KNOWN = {
    "nfe_per_image": Metric("lower", judged=False, exact=True),
    "backward_per_image": Metric("lower", judged=False, exact=True),
    "fd_infinity*": Metric("lower", judged=False, freedom=JACKKNIFE),
    "group_frechet_*": Metric("lower", freedom=JACKKNIFE),
    "worst_group_frechet_*": Metric("lower", freedom=JACKKNIFE),
    "group_coverage_*": Metric("higher", freedom=JACKKNIFE),
    "worst_group_coverage_*": Metric("higher", freedom=JACKKNIFE),
    "fd_*": Metric("lower"),
    "kl": Metric("lower"),
    "share_*": Metric(None),
    "frechet_*": Metric("lower", judged=False, freedom=JACKKNIFE),
    "kid_se_*": Metric(None, judged=False),
    "kid_*": Metric("lower", judged=False, freedom=JACKKNIFE),
    "cmmd_*": Metric("lower", judged=False, freedom=JACKKNIFE),
    "precision_*": Metric("higher", judged=False),
    "recall_*": Metric("higher", judged=False, freedom=JACKKNIFE),
    "density_*": Metric("higher", judged=False),
    "coverage_*": Metric("higher", judged=False, freedom=JACKKNIFE),
    "vendi_*": Metric("higher", judged=False, freedom=JACKKNIFE),
    "epsilon_*": Metric("higher", judged=False),
    "detection_rate*": Metric("higher", judged=False),
    "abstained_share": Metric("lower"),
    "kappa_*": Metric("higher"),
}
COUNTED = ("nfe_per_image", "backward_per_image")
# fairness, quality and leakage, one metric each: variants of one quantity would cost power and tell nothing new
DEFAULT = ("fd_l2_hard", "frechet_*", "epsilon_*")


def metric(name: str) -> Metric:
    """What is known of a metric; nothing but caution of one that no pattern fits."""
    return next((known for pattern, known in KNOWN.items() if fnmatchcase(name, pattern)), Metric(None))
