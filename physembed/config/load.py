"""From the merged dictionary that Snakemake read to a checked configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from physembed.config.arm_clashes import arm_clashes
from physembed.config.base import PATTERNS
from physembed.config.clashes import liquid_clashes, molecule_clashes, name_clashes
from physembed.config.comparisons import comparison_clashes, with_comparisons
from physembed.config.files import BY_NAME
from physembed.config.label_numbers import label_number_clashes, with_label_numbers
from physembed.config.messages import complaints, shown
from physembed.config.root import Config
from physembed.errors import PhysEmbedError


def load(config: dict[str, Any]) -> Config:
    """Check a merged configuration.

    An arm or a model whose value is null is dropped; an arm with several numbers of labels becomes one arm for each,
    and a comparison of such arms one comparison for each.

    Raises:
        PhysEmbedError: one line that names the key and the value.
    """
    for section in BY_NAME if isinstance(config, dict) else ():
        if isinstance(named := config.get(section), dict):
            config = {**config, section: {name: value for name, value in named.items() if value is not None}}
    try:
        checked = Config.model_validate(config)
    except ValidationError as error:
        problems = complaints(error, Config, config, PATTERNS)
    else:
        problems = [f"{key}: {shown(value)}: {problem}" for key, value, problem in _clashes(checked)]
        if not problems:
            return with_comparisons(checked, with_label_numbers(checked))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise PhysEmbedError(f"config: {problems[0]}{more}")


def _clashes(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and problem of each setting that is valid by itself but conflicts with others."""
    yield from name_clashes(config)
    yield from liquid_clashes(config)
    yield from molecule_clashes(config)
    problems = list(arm_clashes(config)) or list(label_number_clashes(config))
    yield from problems or comparison_clashes(config)
