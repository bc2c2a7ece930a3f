"""The comparison of leaderboards with those of a commit finds what differs, and nothing else."""

from __future__ import annotations

import math

import pytest

from tests.benchmarks.unchanged import compare, difference

ROW = {"task": "eyeglasses uniform", "method": "vanilla", "value": "0.5", "commit": "a"}


def test_the_same_numbers_from_another_commit_are_no_difference() -> None:
    assert compare([ROW], [(ROW | {"commit": "b"})]) == ([], 0.0)


def test_a_moved_digit_is_found_with_its_size() -> None:
    sentences, largest = compare([ROW], [(ROW | {"value": "0.500001"})])
    assert len(sentences) == 1
    assert "value: 0.5 -> 0.500001" in sentences[0]
    assert largest == pytest.approx(2e-6, rel=1e-3)


def test_other_rows_and_another_order_are_found() -> None:
    other = ROW | {"method": "tiw_dsm"}
    for old, new in (([ROW], [ROW, other]), ([ROW, other], [other, ROW])):
        sentences, largest = compare(old, new)
        assert sentences
        assert sentences[0].startswith("other rows or another order")
        assert largest == math.inf


def test_a_number_that_became_a_text_or_went_is_a_difference() -> None:
    assert difference("0.5", "best") is None
    assert difference("0.5", "") is None
    assert difference("", "") == 0.0
