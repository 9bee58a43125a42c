"""Energy, forces and virial of the CSO correction for a batch of systems, from their pairs.

    E = -alpha (S0 + a1 S1)
    S0 = sum over pairs of s6 C6 / (R^6 + (a3 R0 + a4)^6)
    S1 = sum over pairs of C6 / (1 + exp(R - a2 R0)) / (R^6 + (a3 R0 + a4)^6)

in Hartree and Bohr (Schröder, Creon, Schwabe, J. Chem. Theory Comput. 2015, 11, 3163). `parameters` says what
C6 and R0 are. Lengths outside are in Å, energies in eV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physembed.cso.parameters import A2, A3, A4, Convention, Cutoffs, require_elements
from physembed.errors import PhysEmbedError
from physembed.units import BOHR, HARTREE

COUNTING_STEEPNESS = 16.0
"""k1 of the counting function of D3 (Grimme et al., J. Chem. Phys. 2010, 132, 154104)."""
REFERENCE_STEEPNESS = 4.0
"""k3 of the weights of the reference systems of D3 (same source)."""

Values = float | Sequence[float] | Tensor
"""One value for all systems, or one for each."""


@dataclass(frozen=True)
class CSOParameters:
    """Parameters of the equation, each one value or (n_systems,) values."""

    a1: Values
    """Strength of the medium-range part, dimensionless."""
    alpha: Values = 1.0
    """Factor of the whole correction."""
    s6: Values | None = None
    """Strength of the long-range part; the default is that of the convention."""
    a2: Values = A2
    """The medium range ends at a2 R0."""
    a3: Values = A3
    """Part of R0 in the damping radius."""
    a4: Values = A4
    """Constant part of the damping radius in Bohr."""

    def per_system(self, name: str, n_systems: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Values of one parameter, (n_systems,).

        Raises:
            PhysEmbedError: there are neither one nor n_systems of them.
        """
        values = torch.as_tensor(getattr(self, name), dtype=dtype, device=device).reshape(-1)
        if len(values) not in (1, n_systems):
            raise PhysEmbedError(
                f"CSO: {name} has {len(values)} values, the batch {n_systems} systems; "
                "give one value for all or one for each"
            )
        return values.expand(n_systems)


@dataclass(frozen=True)
class CSOResult:
    """The correction of each system, without a graph."""

    energy: Tensor
    """(n_systems,) eV."""
    forces: Tensor
    """(n_atoms, 3) eV/Å."""
    virial: Tensor
    """(n_systems, 3, 3) eV, the derivative of the energy by strain: the stress times the volume."""
    s0: Tensor
    """(n_systems,) S0 in eV."""
    s1: Tensor
    """(n_systems,) S1 in eV."""


def _switch(r: Tensor, cutoff: float, width: float) -> Tensor:
    """1 inside, 0 from the cutoff on (see `Cutoffs`); all lengths in one unit."""
    if width == 0.0:
        return (r <= cutoff).to(r.dtype)
    x = ((cutoff - r) / width).clamp(0.0, 1.0)
    return x**3 * (10.0 + x * (6.0 * x - 15.0))


class CSOInteraction:
    """The correction of a batch whose atoms stay the same while they move: make it once, call it each step.

    Pairs are given as atoms `first` and `second`, each pair (and each image of it) once. A pair at or beyond
    the cutoffs adds exactly nothing, so a list may have a skin, or be padded with such pairs to a fixed length.
    No call waits for the device, so a CUDA graph can capture it.
    """

    def __init__(
        self,
        convention: Convention,
        cutoffs: Cutoffs,
        parameters: CSOParameters,
        numbers: Tensor,
        system: Tensor,
        n_systems: int,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """Take the parameters of these atoms.

        Args:
            convention: how the equation is read.
            cutoffs: ranges of the interaction.
            parameters: values for the systems.
            numbers: (n_atoms,) atomic numbers.
            system: (n_atoms,) system of each atom.
            n_systems: number of systems.
            dtype: of the positions.

        Raises:
            PhysEmbedError: an element has no parameters, or a parameter has the wrong number of values.
        """
        device = numbers.device
        elements, kind = torch.unique(numbers, return_inverse=True)
        require_elements(convention, elements)
        chosen = elements.to("cpu", torch.long)
        data = convention.data()

        def values(name: str) -> Tensor:
            return parameters.per_system(name, n_systems, dtype, device)

        self.convention = convention
        self.cutoffs = cutoffs
        self.alpha, self.a1 = values("alpha"), values("a1")
        s6 = torch.full_like(self.a1, convention.s6) if parameters.s6 is None else values("s6")
        self._s0_factor = s6 * convention.pair_count * HARTREE
        self._s1_factor = convention.pair_count * HARTREE
        self._cutoff = cutoffs.dispersion / BOHR
        self._width = cutoffs.dispersion_width / BOHR
        self._n_systems, self._system = n_systems, system

        # Tables over the elements that are present. What also depends on parameters has one table per system,
        # so that a pair needs one look-up whether the parameters differ between the systems or not.
        self._n_kinds = len(chosen)
        self._kind = kind
        self._row = (system * self._n_kinds + kind) * self._n_kinds
        r0 = data.r0[chosen][:, chosen].to(device, dtype)
        midpoint = values("a2")[:, None, None] * r0
        damping = (values("a3")[:, None, None] * r0 + values("a4")[:, None, None]) ** 6
        at_cutoff = 1.0 / (self._cutoff**6 + damping)
        self._midpoint, self._damping = midpoint.flatten(), damping.flatten()
        self._shift0 = at_cutoff.flatten()
        self._shift1 = (at_cutoff * torch.sigmoid(midpoint - self._cutoff)).flatten()

        coordination = data.reference_coordination[chosen]
        n_ref = int((coordination >= 0.0).any(dim=0).nonzero().max()) + 1
        radius = data.covalent_radius[chosen].to(device, dtype)
        bond_length = (radius[:, None] + radius[None, :]) * BOHR
        self._bond_length = bond_length.expand(n_systems, -1, -1).flatten()
        self._reference = coordination[:, :n_ref].to(device, dtype)[kind]
        self._reference_c6 = data.reference_c6[chosen][:, chosen, :n_ref, :n_ref].to(device, dtype)[kind]

    def _pair_type(self, first: Tensor, second: Tensor) -> Tensor:
        """(n_pairs,) place of each pair in the tables."""
        # index_select is several times faster than indexing with brackets on a CPU.
        return self._row.index_select(0, first) + self._kind.index_select(0, second)

    def counts(self, distances: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """What each pair adds to the D3 coordination numbers of both atoms: 1 / (1 + exp(-k1 (R_cov / R - 1))).

        Args:
            distances: (n_pairs,) Å.
            first: (n_pairs,) atom.
            second: (n_pairs,) atom.
        """
        bond_length = self._bond_length.index_select(0, self._pair_type(first, second))
        counts = torch.sigmoid(COUNTING_STEEPNESS * (bond_length / distances - 1.0))
        return counts * _switch(distances, self.cutoffs.coordination, self.cutoffs.coordination_width)

    def coordination_numbers(self, distances: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """D3 coordination numbers, (n_atoms,): the sum of `counts` over the neighbours of an atom."""
        counts = self.counts(distances, first, second)
        zero = distances.new_zeros(len(self._kind))
        return zero.index_add(0, first, counts).index_add(0, second, counts)

    def _c6(self, coordination: Tensor | None, first: Tensor, second: Tensor) -> Tensor:
        """(n_pairs,) C6 in Hartree Bohr^6, interpolated between the reference systems of both atoms."""
        if coordination is None:
            weights = torch.ones_like(self._reference)
        else:
            deviation = coordination[:, None] - self._reference
            exponent = (-REFERENCE_STEEPNESS * deviation**2).masked_fill(self._reference < 0.0, -torch.inf)
            # D3's normalised Gaussians; softmax keeps them finite far from every reference system.
            weights = torch.softmax(exponent, dim=1)
        # The sum over the references of one atom is done once per atom and kind of partner, not per pair.
        half = torch.einsum("na,nkab->nkb", weights, self._reference_c6).flatten(0, 1)
        partner = first * self._n_kinds + self._kind.index_select(0, second)
        return (half.index_select(0, partner) * weights.index_select(0, second)).sum(dim=1)

    def _terms(
        self, distances: Tensor, first: Tensor, second: Tensor, coordination: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(n_pairs,) terms of S0 and S1 in Hartree, without the factors of the systems."""
        r = distances / BOHR
        pair_type = self._pair_type(first, second)
        long_range = 1.0 / ((r * r * r) ** 2 + self._damping.index_select(0, pair_type))
        medium_range = long_range * torch.sigmoid(self._midpoint.index_select(0, pair_type) - r)
        if self.convention.shifted:
            long_range = long_range - self._shift0.index_select(0, pair_type)
            medium_range = medium_range - self._shift1.index_select(0, pair_type)
        c6 = self._c6(coordination, first, second) * _switch(r, self._cutoff, self._width)
        return c6 * long_range, c6 * medium_range

    def pair_energies(self, distances: Tensor, first: Tensor, second: Tensor, coordination: Tensor | None) -> Tensor:
        """Energy of each pair in eV, (n_pairs,), at coordination numbers that are known; differentiable by both.

        Args:
            distances: (n_pairs,) Å.
            first: (n_pairs,) atom.
            second: (n_pairs,) atom.
            coordination: (n_atoms,) coordination numbers; None if the convention has none.
        """
        long_range, medium_range = self._terms(distances, first, second, coordination)
        system = self._system.index_select(0, first)
        s0, s1 = self._s0_factor.index_select(0, system), (self._s1_factor * self.a1).index_select(0, system)
        return -self.alpha.index_select(0, system) * (s0 * long_range + s1 * medium_range)

    def _per_system(self, pair_values: Tensor, first: Tensor) -> Tensor:
        """Sum of (n_pairs, ...) over each system; by way of the atoms, which keeps float32 exact enough."""
        shape = pair_values.shape[1:]
        per_atom = pair_values.new_zeros(len(self._kind), *shape).index_add(0, first, pair_values)
        return pair_values.new_zeros(self._n_systems, *shape).index_add(0, self._system, per_atom)

    def sums(self, distances: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """S0 and S1 of each system in eV, (n_systems,) each; differentiable by the distances.

        Args:
            distances: (n_pairs,) Å.
            first: (n_pairs,) atom.
            second: (n_pairs,) atom.
        """
        coordination = None
        if self.convention.coordination_dependent:
            coordination = self.coordination_numbers(distances, first, second)
        long_range, medium_range = self._terms(distances, first, second, coordination)
        return (
            self._s0_factor * self._per_system(long_range, first),
            self._s1_factor * self._per_system(medium_range, first),
        )

    def evaluate(self, vectors: Tensor, first: Tensor, second: Tensor) -> CSOResult:
        """Energy, forces and virial.

        The pair distances alone carry the geometry, the coordination numbers included, so one backward pass to
        them gives the forces and the virial.

        Args:
            vectors: (n_pairs, 3) Å, from the first atom to (the image of) the second.
            first: (n_pairs,) atom.
            second: (n_pairs,) atom.
        """
        vectors = vectors.detach()
        distances = torch.linalg.vector_norm(vectors, dim=1).requires_grad_()
        with torch.enable_grad():
            s0, s1 = self.sums(distances, first, second)
            energy = -self.alpha * (s0 + self.a1 * s1)
            (slope,) = torch.autograd.grad(energy.sum(), distances)
        pull = (slope / distances.detach())[:, None] * vectors
        forces = vectors.new_zeros(len(self._kind), 3).index_add(0, first, pull).index_add(0, second, -pull)
        virial = self._per_system(pull[:, :, None] * vectors[:, None, :], first)
        return CSOResult(energy.detach(), forces, virial, s0.detach(), s1.detach())
