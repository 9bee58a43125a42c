"""The pairs of arms that a study compares, where it does not compare all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from physembed.config.label_numbers import numbers_of_labels, with_label_numbers
from physembed.config.messages import nearest
from physembed.config.root import Config

KEY = "survival.comparisons"


def with_comparisons(config: Config, single: Config) -> Config:
    """A configuration whose comparisons name its arms, of which there is one for each number of labels.

    A pair of arms with several numbers of labels stands for one pair with each number that both have, a pair of one of
    them and another arm for one pair with each number.

    Args:
        config: the configuration as given; `comparison_clashes` must be empty.
        single: from `with_label_numbers`.
    """
    if config.survival.comparisons is None:
        return single
    pairs = [pair for first, second in config.survival.comparisons for pair in _pairs(config, first, second)]
    return single.model_copy(update={"survival": config.survival.model_copy(update={"comparisons": pairs})})


def _pairs(config: Config, first: str, second: str) -> list[list[str]]:
    numbers, others = _numbers(config, first), _numbers(config, second)
    if numbers and others:
        return [[f"{first}_{labels}", f"{second}_{labels}"] for labels in numbers if labels in others]
    return [
        [f"{first}_{labels}" if numbers else first, f"{second}_{labels}" if others else second]
        for labels in numbers or others or [0]
    ]


def _numbers(config: Config, name: str) -> list[int]:
    return numbers_of_labels(config, name) if name in config.arms else []


def comparison_clashes(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Key, value and problem of comparisons of arms that are not there, or that are the same.

    The numbers of labels of the arms must be sound (`label_number_clashes`).
    """
    known, seen = {*config.arms, *with_label_numbers(config).arms}, set[frozenset[str]]()
    for pair in config.survival.comparisons or []:
        if unknown := [name for name in pair if name not in known]:
            yield KEY, pair, f"{unknown[0]} is not an arm ({nearest(unknown[0], list(config.arms))})"
            continue
        if pair[0] == pair[1]:
            yield KEY, pair, "compares an arm with itself"
            continue
        pairs = {frozenset(made) for made in _pairs(config, *pair)}
        if not pairs:
            yield KEY, pair, "these arms have no number of labels in common"
        if pairs & seen:
            yield KEY, pair, "is listed twice"
        seen |= pairs
