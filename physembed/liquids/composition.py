"""Numbers of molecules for a composition, and the length of the box."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from physembed.errors import PhysEmbedError
from physembed.units import G_CM3


def molecule_counts(masses_u: Sequence[float], mass_fractions: Sequence[float], total: int) -> list[int]:
    """Molecules of each component, `total` in all and at least one each, closest to the requested mass fractions.

    Largest remainders of the ideal numbers of molecules, followed by exchanges of up to two molecules of each component
    as long as they reduce the squared deviation of the mass fractions.

    Raises:
        PhysEmbedError: fewer molecules than components.
    """
    if total < len(masses_u):
        raise PhysEmbedError(f"box: {total} molecules for {len(masses_u)} components; give at least one each")
    masses, wanted = np.asarray(masses_u, dtype=float), np.asarray(mass_fractions, dtype=float)
    wanted = wanted / wanted.sum()

    def deviation(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        got = numbers * masses
        return ((got / got.sum(axis=-1, keepdims=True) - wanted) ** 2).sum(axis=-1)

    ideal = total * (wanted / masses) / (wanted / masses).sum()
    counts = np.maximum(1, np.floor(ideal)).astype(np.int64)
    while counts.sum() != total:
        step = 1 if counts.sum() < total else -1
        remainder = np.where(counts + step >= 1, step * (ideal - counts), -np.inf)
        counts[remainder.argmax()] += step
    exchanges = np.array([change for change in product(range(-2, 3), repeat=len(counts)) if sum(change) == 0])
    while True:
        candidates = counts + exchanges
        candidates = candidates[candidates.min(axis=1) >= 1]
        best = candidates[deviation(candidates).argmin()]
        if deviation(best) >= deviation(counts):
            return [int(count) for count in counts]
        counts = best


def cube_length_A(mass_u: float, density_g_cm3: float) -> float:
    """Length of the cube with a given mass and density, Å."""
    return float((mass_u / (density_g_cm3 * G_CM3)) ** (1 / 3))
