"""Where a run ends that goes on until its mean is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from physembed.md.run_length import GROWTH, RunLength


def rows(count: int) -> list[tuple[float, ...]]:
    return [(float(index),) for index in range(count)]


class Judge:
    """Passes runs of these lengths, and remembers which it was asked about."""

    def __init__(self, passed: Sequence[int] | range) -> None:
        self.passed, self.asked = passed, list[int]()

    def __call__(self, seen: Sequence[tuple[float, ...]]) -> bool:
        assert list(seen) == rows(len(seen)), "the beginning of the run"
        self.asked.append(len(seen))
        return len(seen) in self.passed


def fed_one_by_one(length: RunLength, most: int) -> int | None:
    """Where a run ends whose records come one after the other."""
    for count in range(1, most + 1):
        length.see(rows(count))
        if length.end is not None:
            assert length.end == length.latest == count, "an end is known when it is reached"
            return length.end
        assert length.latest == most
    return None


def test_a_run_of_fixed_length_is_never_judged() -> None:
    judge = Judge(())
    length = RunLength(100, 100, judge)
    assert length.end == length.latest == 100
    length.see(rows(150))
    assert length.end == 100 and judge.asked == []


def test_a_run_ends_at_its_least_length_if_it_was_precise_a_tenth_before() -> None:
    judge = Judge(range(1000))
    assert fed_one_by_one(RunLength(100, 1000, judge), 1000) == 100
    assert judge.asked == [math.ceil(100 / GROWTH), 100] == [91, 100]


CHECKS = [91, 100, 111, 123, 136, 150, 165, 182]


@pytest.mark.parametrize(
    ("passed", "end"),
    [
        ([91, 100], 100),
        ([100, 111], 111),
        ([91, 111, 136, 165], 200),  # each time alone
        ([91, 111, 136, 150, 165], 150),
        ([165, 182], 182),
        ([182], 200),
        ([], 200),
    ],
)
def test_a_run_ends_at_the_second_of_two_checks_that_are_passed(passed: list[int], end: int) -> None:
    judge = Judge(passed)
    length = RunLength(100, 200, judge)
    assert fed_one_by_one(length, 200) == end and length.cut_off == (end == 200)
    assert judge.asked == [check for check in CHECKS if check <= end]


def test_a_run_that_is_there_ends_where_it_would_have_ended() -> None:
    for passed in (range(120, 500), range(300, 500), range(91, 101)):
        ends = set()
        for pieces in ([400], [95, 400], [100, 110, 180, 400], list(range(1, 401))):
            length = RunLength(100, 400, Judge(passed))
            for count in pieces:
                length.see(rows(count))
            ends.add(length.end)
        assert len(ends) == 1, passed
    assert ends == {100}
