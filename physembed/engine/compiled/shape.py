"""Properties of a model on which its code depends, as opposed to its parameters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

Entry = tuple[int, int, int, float]
"""(m1, m2, m3) of a Clebsch-Gordan coefficient, and its value divided by the common factor of its path."""

Monomial = tuple[int, ...]
"""Components of A, ascending."""

CORRELATIONS = 4
"""Highest order of the monomials, limited by the compilation time."""


def components(order: int) -> int:
    """Number of components (l, m) with l up to an order."""
    return (order + 1) ** 2


@dataclass(frozen=True)
class Path:
    """One coupling of a feature (l1) and a spherical harmonic (l2) to a message (l3)."""

    l1: int
    l2: int
    l3: int
    entries: tuple[Entry, ...]

    def row(self, m1: int, m3: int) -> list[tuple[int, float]]:
        """Spherical harmonics, as components (l2, m2), that couple m1 to m3, with their coefficients."""
        return [(self.l2**2 + b, value) for a, b, c, value in self.entries if (a, c) == (m1, m3)]


@dataclass(frozen=True)
class LayerShape:
    """Shape of an interaction with the product that follows it."""

    paths: tuple[Path, ...]
    """Sorted by l3. In the first layer, whose features are scalars, the path for each l, without entries."""
    input_order: int
    """Highest l of the features gathered from the neighbours."""
    output_order: int
    """Highest l of the products."""
    monomials: tuple[tuple[Monomial, ...], ...]
    """For each component (L, M) of the products."""
    mix_by_element: bool
    """Whether the matrices after the sum over neighbours depend on the element."""

    def paths_to(self, order: int) -> list[int]:
        """Indices of the paths to an l3."""
        return [index for index, path in enumerate(self.paths) if path.l3 == order]

    def offset(self, order: int) -> int:
        """First message component of an l3. Components are sorted by (l3, m3, path)."""
        return sum((2 * lower + 1) * len(self.paths_to(lower)) for lower in range(order))

    @property
    def messages(self) -> int:
        """Number of message components."""
        return self.offset(1 + max(path.l3 for path in self.paths))


@dataclass(frozen=True)
class Shape:
    """Shape of a model in a given precision on a given machine."""

    double: bool
    lanes: int
    channels: int
    """A multiple of the lanes."""
    order: int
    """Highest l of the spherical harmonics (max_ell)."""
    layers: tuple[LayerShape, ...]
    hidden: int
    """Width of the last readout, a multiple of the lanes; 0 if it is linear."""
    gate: str
    """Gate of the last readout: silu, tanh or none."""
    repulsion: int
    """Power of the cutoff of the ZBL repulsion; 0 without one."""

    @property
    def blocks(self) -> int:
        """Number of vectors per set of channels."""
        return self.channels // self.lanes

    @property
    def harmonics(self) -> int:
        """Number of components of the spherical harmonics, and of A."""
        return components(self.order)

    @property
    def gradient_width(self) -> int:
        """Reals stored for the gradient of an edge: for the distance, in the position of (0, 0), and the harmonics."""
        return -(-self.harmonics // self.lanes) * self.lanes

    @property
    def size(self) -> int:
        """Bytes per real number."""
        return 8 if self.double else 4

    @property
    def key(self) -> str:
        """Name of this shape."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:24]
