"""The correction that the tuning gave, as the stages after it read it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from physembed.errors import PhysEmbedError
from physembed.tables import read_table


class Correction(NamedTuple):
    """Parameters of a correction."""

    alpha: float
    a1: float


def read_correction(tuning: str | Path | None) -> Correction:
    """alpha and a1 of the corrected model, which the first row of a tuning table has; 0 and 0 without a table.

    Raises:
        PhysEmbedError: the tuning gave no a1 at all.
    """
    if not tuning:
        return Correction(0.0, 0.0)
    row = read_table(tuning).iloc[0]
    if not np.isfinite(row.a1):
        raise PhysEmbedError(
            f"{tuning}: the scan gave no a1 ({row.status}: {row.reason}); scan other points or another alpha"
        )
    return Correction(float(row.alpha), float(row.a1))
