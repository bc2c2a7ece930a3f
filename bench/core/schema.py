"""Which score a suite is ranked by: the discrepancy, and over several prompts its mean."""

from __future__ import annotations

POOLED = "fd_l2_hard"
SHARE = "share_hard"  # of each class, in the order of the classes
OVER_PROMPTS = "fd_l2_prompt_mean"  # pooled, biases of prompts that point in opposite directions cancel
BY_PROMPT = ("fd_l2_prompt_worst", "fd_l2_prompt_p90")  # of the leaderboard, beside that mean
PROMPTS = "prompts.csv"  # of a run with prompts, beside its results.csv


def ranking_metric_of(prompts: bool) -> str:
    """The metric that decides the leaderboard's order and is tested there, over the joint of a task's attributes.

    Args:
        prompts: whether the suite has a prompt set.
    """
    return OVER_PROMPTS if prompts else POOLED
