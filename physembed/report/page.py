"""Elements of the summary page: text tables, embedded figures, and formatted numbers."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table of the page; all cells are text."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    classes: list[str] = field(default_factory=list)
    """CSS class of each row (`tuned`, `paper`, or empty); a table with classes is set smaller."""
    notes: list[str] = field(default_factory=list)
    """Sentences below the table."""


def embedded(svg: Path) -> str:
    """A figure as a data URL."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as pairs of a dotted key and a value."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def plus_minus(value: float, error: float, most_decimals: int) -> str:
    """`1.0168 ± 0.0012`: a value with its standard error to two digits, with at most `most_decimals` decimals."""
    if math.isnan(error):
        return f"{value:.{most_decimals}f}"
    decimals = most_decimals if error <= 0 else min(most_decimals, max(0, 1 - math.floor(math.log10(error))))
    # No line break within a number.
    return f"{value:.{decimals}f}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{error:.{decimals}f}"


def signed_percent(value: float, decimals: int) -> str:
    """A deviation as `+1.2 %`."""
    # No line break before the sign.
    return f"{value:+.{decimals}f}\N{NO-BREAK SPACE}%"
