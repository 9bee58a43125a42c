"""Conventions of the CSO correction and the data of the elements behind each.

A convention decides how C6 and R0 of a pair come about, the default s6, how often a pair counts and how the
interaction ends at the cutoff. A value of a1 means nothing without its convention.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import torch
from ase import units as ase_units
from ase.data import atomic_numbers as ATOMIC_NUMBERS
from ase.data import chemical_symbols
from tad_dftd3.data import R4R2
from tad_dftd3.reference import Reference
from tad_mctc.data import COV_D3

from physembed.errors import PhysEmbedError
from physembed.units import BOHR, HARTREE

A2 = 2.5
"""Default a2 of Schröder, Creon and Schwabe, dimensionless: the sigmoid is at one half at R = a2 R0."""
A3 = 0.0
"""Default a3, dimensionless."""
A4 = 6.25
"""Default a4 in Bohr (2.5^2)."""

_C6_UNIT = ase_units.J / ase_units.mol / HARTREE * (10.0 / BOHR) ** 6
"""One J nm^6/mol in Hartree Bohr^6."""


@dataclass(frozen=True)
class Cutoffs:
    """Ranges of the correction in Å.

    Over the last `width` before a cutoff the interaction is multiplied by x^3 (10 - 15 x + 6 x^2), x falling
    from 1 to 0, so that its first two derivatives are continuous. Width 0 is a sharp cutoff.
    """

    dispersion: float = 12.0
    """Pairs further apart than this do not interact."""
    dispersion_width: float = 2.0
    """Where the interaction is switched off."""
    coordination: float = 6.0
    """Range in which neighbours are counted for the coordination number (`d3` only)."""
    coordination_width: float = 1.0
    """Where the counting is switched off."""

    def __post_init__(self) -> None:
        for name, radius, width in (
            ("dispersion", self.dispersion, self.dispersion_width),
            ("coordination", self.coordination, self.coordination_width),
        ):
            if not (0.0 <= width < radius):
                raise PhysEmbedError(
                    f"CSO cutoffs: {name} has radius {radius} Å and width {width} Å; give 0 <= width < radius"
                )


@dataclass(frozen=True)
class ElementData:
    """Parameters of all elements of a convention in atomic units, indexed by atomic number (row 0 unused).

    A convention without coordination numbers has one reference system per element.
    """

    r0: torch.Tensor
    """(n_z, n_z) R0 of a pair in Bohr."""
    reference_c6: torch.Tensor
    """(n_z, n_z, n_ref, n_ref) C6 of two reference systems in Hartree Bohr^6."""
    reference_coordination: torch.Tensor
    """(n_z, n_ref) coordination number of a reference system; negative where there is none."""
    covalent_radius: torch.Tensor
    """(n_z,) Bohr, scaled as the counting function of D3 wants it."""


@cache
def _d3_data() -> ElementData:
    """D3 reference systems: Grimme et al., J. Chem. Phys. 2010, 132, 154104, from `tad-dftd3`."""
    reference = Reference(dtype=torch.float64, device=torch.device("cpu"))
    n_z = len(reference.cn)
    q = R4R2(dtype=torch.float64, device=torch.device("cpu"))[:n_z]
    return ElementData(
        r0=(3.0 * q[:, None] * q[None, :]).sqrt(),
        reference_c6=reference.c6,
        reference_coordination=reference.cn,
        covalent_radius=COV_D3(dtype=torch.float64, device=torch.device("cpu"))[:n_z],
    )


@cache
def _d2_data() -> ElementData:
    """D2 parameters H to Xe: Grimme, J. Comput. Chem. 2006, 27, 1787, 10.1002/jcc.20495."""
    text = resources.files(__package__).joinpath("d2_parameters.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    z = [ATOMIC_NUMBERS[row["element"]] for row in rows]
    c6, radius = np.zeros(max(z) + 1), np.zeros(max(z) + 1)
    c6[z] = [float(row["C6_J_nm6_per_mol"]) * _C6_UNIT for row in rows]
    radius[z] = [float(row["R0_angstrom"]) / BOHR for row in rows]
    known = torch.from_numpy(c6 > 0.0)
    return ElementData(
        r0=torch.from_numpy(radius[:, None] + radius[None, :]),
        reference_c6=torch.from_numpy(np.sqrt(c6[:, None] * c6[None, :]))[:, :, None, None],
        reference_coordination=torch.where(known, 0.0, -1.0).to(torch.float64)[:, None],
        covalent_radius=torch.zeros(len(c6), dtype=torch.float64),
    )


@dataclass(frozen=True)
class Convention:
    """How the CSO equation is read."""

    name: str
    s6: float
    """Default s6."""
    pair_count: float
    """How often a pair counts: 1, or 2 where the sum runs over ordered pairs."""
    coordination_dependent: bool
    """Whether C6 depends on the coordination numbers."""
    shifted: bool
    """Whether the pair energy is shifted to zero at the cutoff."""
    cutoffs: Cutoffs
    """Default ranges."""
    data: Callable[[], ElementData]
    """Reads the parameters of the elements (once)."""

    def reach(self, cutoffs: Cutoffs) -> float:
        """Range in Å of the pairs that are needed with these cutoffs."""
        return max(cutoffs.dispersion, cutoffs.coordination * self.coordination_dependent)


CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention(
            "d3",
            s6=1.0,
            pair_count=1.0,
            coordination_dependent=True,
            shifted=False,
            cutoffs=Cutoffs(),
            data=_d3_data,
        ),
        Convention(
            "d2",
            s6=0.73,
            pair_count=2.0,
            coordination_dependent=False,
            shifted=True,
            cutoffs=Cutoffs(dispersion=10.0, dispersion_width=0.0),
            data=_d2_data,
        ),
    )
}
"""`d3` is that of Schröder, Creon and Schwabe (JCTC 2015, 11, 3163), `d2` has the parameters of DFT-D2."""


def get_convention(name: str) -> Convention:
    """The convention of this name.

    Raises:
        PhysEmbedError: there is none.
    """
    if name not in CONVENTIONS:
        raise PhysEmbedError(f"CSO: unknown convention {name!r}; choose one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


def require_elements(convention: Convention, numbers: torch.Tensor) -> None:
    """Check that the convention has parameters for each of these elements.

    Args:
        convention: whose parameters are needed.
        numbers: (n,) atomic numbers.

    Raises:
        PhysEmbedError: an element has none.
    """
    present = convention.data().reference_coordination.amax(dim=1) >= 0.0
    missing = [z for z in numbers.tolist() if not (0 < z < len(present) and present[z])]
    if missing:
        names = ", ".join(chemical_symbols[z] if 0 < z < len(chemical_symbols) else str(z) for z in missing)
        last = chemical_symbols[int(present.nonzero().max())]
        raise PhysEmbedError(
            f"CSO: convention {convention.name} has no parameters for {names} (it has H to {last}); "
            "use another convention or leave the correction out"
        )
