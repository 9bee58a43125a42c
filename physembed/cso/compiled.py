"""Energy, forces and virial of the CSO correction on a CPU, by compiled loops over a list of pairs that is kept."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from physembed.cso import kernels
from physembed.cso.energy import COUNTING_STEEPNESS, REFERENCE_STEEPNESS, CSOParameters, CSOResult
from physembed.cso.groups import bonded_groups
from physembed.cso.parameters import Convention, Cutoffs, require_elements
from physembed.numba_kernels import Array
from physembed.pairs.neighbors import Kept, Rows
from physembed.shares import shared
from physembed.units import BOHR, HARTREE

CHUNKS = 8
"""Parts of the work. Sums are made part by part, so that results do not depend on the number of threads."""


class CompiledCSO:
    """As `CSOInteraction`, for atoms whose pairs come from a `SkinList` of half the pairs.

    Pairs are of the precision of the positions; sums over atoms and systems are in float64.
    """

    def __init__(
        self,
        convention: Convention,
        cutoffs: Cutoffs,
        parameters: CSOParameters,
        numbers: Tensor,
        system: Tensor,
        n_systems: int,
        dtype: torch.dtype,
    ) -> None:
        """Take the parameters of these atoms; arguments and errors are those of `CSOInteraction`."""
        elements, kind = torch.unique(numbers, return_inverse=True)
        require_elements(convention, elements)
        data, double = convention.data(), torch.float64

        def values(name: str) -> Array:
            return parameters.per_system(name, n_systems, double, torch.device("cpu")).numpy()

        self._real = torch.empty(0, dtype=dtype).numpy().dtype
        self._numbers, self._kind, self._system = numbers.numpy(), kind.numpy(), system.numpy()
        self._n_kinds, self._n_systems = len(elements), n_systems
        self._alpha, self._a1 = values("alpha"), values("a1")
        s6 = np.full(n_systems, convention.s6) if parameters.s6 is None else values("s6")
        unit = convention.pair_count * HARTREE
        self._sum_factors = np.stack([s6 * unit, np.full(n_systems, unit)], 1)
        self._factors = -self._alpha[:, None] * self._sum_factors
        self._factors[:, 1] *= self._a1
        self._reach = convention.reach(cutoffs)

        constants = np.zeros(kernels.N_CONSTANTS)
        constants[kernels.TO_BOHR] = 1.0 / BOHR
        constants[kernels.REACH2] = self._reach**2
        constants[kernels.STEEPNESS] = COUNTING_STEEPNESS
        for cutoff, per_width, radius, width in (
            (kernels.CUTOFF, kernels.PER_WIDTH, cutoffs.dispersion, cutoffs.dispersion_width),
            (kernels.COUNT_CUTOFF, kernels.COUNT_PER_WIDTH, cutoffs.coordination, cutoffs.coordination_width),
        ):
            # A sharp cutoff, at which a pair still counts, is a very steep one just beyond it.
            constants[cutoff] = radius if width else np.nextafter(self._real.type(radius), self._real.type(np.inf))
            constants[per_width] = 1.0 / (width or 1e-30)
        self._constants = constants.astype(self._real)

        r0 = data.r0[elements][:, elements].numpy()
        midpoint = values("a2")[:, None, None] * r0
        damping = (values("a3")[:, None, None] * r0 + values("a4")[:, None, None]) ** 6
        shift = 1.0 / ((cutoffs.dispersion / BOHR) ** 6 + damping) * convention.shifted
        of_medium = 1.0 / (1.0 + np.exp(cutoffs.dispersion / BOHR - midpoint))
        self._pair_table = np.stack([midpoint, damping, shift, shift * of_medium], -1).astype(self._real)

        coordination = data.reference_coordination[elements]
        n_ref = int((coordination >= 0.0).any(dim=0).nonzero().max()) + 1
        self._references = (coordination >= 0.0).sum(1).numpy()
        self._reference = coordination[:, :n_ref].double().contiguous().numpy()
        self._reference_c6 = data.reference_c6[elements][:, elements, :n_ref, :n_ref].double().contiguous().numpy()
        self._counted = convention.coordination_dependent
        radius = data.covalent_radius[elements].numpy() * BOHR
        bond_length = radius[:, None] + radius[None, :] if self._counted else np.empty((0, 0))
        self._bond_length = bond_length.astype(self._real)

        shape = (len(kind), self._n_kinds, n_ref)
        self._weights, self._weights_slope = (np.ones(shape[::2], self._real) for _ in range(2))
        self._half, self._half_slope = (np.zeros(shape, self._real) for _ in range(2))
        if not self._counted:
            self._half[:] = self._reference_c6[self._kind, :, 0, :]
        self._groups: kernels.Groups | None = None
        self._rows: Rows | None = None

    def _list(self, rows: Rows, kept: Kept) -> None:
        """Put a new list in order."""
        positions, lattice = kept.positions.numpy(), kept.lattice.contiguous().numpy()
        if self._groups is None:
            self._groups = bonded_groups(self._numbers, self._kind, self._system, rows, kept, CHUNKS)
        n_groups, n_pairs, n_images = len(self._groups.dealt), len(rows.second), lattice.shape[1]
        self._shift = np.empty(len(self._kind), np.int64)
        pairs = rows.starts, rows.second, rows.image
        kernels.shifts_to_first(self._groups, *pairs, rows.ranges, positions, lattice, self._shift)

        def empty(n: int) -> tuple[Array, Array, Array]:
            own = np.empty((n_groups, self._n_kinds), np.int64)
            return np.empty(n, np.uint16), np.empty((n_groups, self._n_kinds + 1), np.int64), own

        self._listed = kernels.Listed(np.empty(n_pairs, np.uint32), np.empty(n_pairs, np.int32), *empty(n_pairs))
        kernels.list_partners(self._groups, *pairs, self._shift, n_images, self._listed)
        lengths = self._listed.starts[:, -1] - self._listed.starts[:, 0]
        n_blocks = lengths // kernels.LANES + self._n_kinds
        first, places = np.cumsum(n_blocks) - n_blocks, int(n_blocks.sum()) * kernels.LANES
        self._longest = int(n_blocks.max(initial=0)) * kernels.LANES

        def near(slopes: int) -> kernels.Near:
            masks, starts, own = empty(places)
            starts[:, 0] = first
            rest = np.empty(places, np.uint32), masks, starts, own, np.empty(slopes * places, self._real)
            return kernels.Near(np.empty(3 * places, self._real), *rest)

        self._near, self._close = near(0), near(kernels.LARGEST) if self._counted else None
        self._rows = rows

    def evaluate(self, rows: Rows, kept: Kept, threads: int) -> CSOResult:
        """Energy, forces and virial.

        Args:
            rows: a list of half the pairs within the range of the interaction, or more of them.
            kept: where its atoms are.
            threads: how many share the work; the result does not depend on it.
        """
        n_atoms = len(self._kind)
        if rows is not self._rows:
            self._list(rows, kept)
        groups, near, close = self._groups, self._near, self._close
        structure = kernels.Structure(
            kept.positions.numpy(), kept.lattice.contiguous().numpy(), kept.left.numpy(), self._shift
        )
        coordination = np.zeros((CHUNKS, n_atoms if self._counted else 0))
        by_coordination = np.zeros_like(coordination)
        sums, virials = np.zeros((CHUNKS, self._n_systems, 2)), np.zeros((CHUNKS, self._n_systems, 6))
        forces = np.zeros((CHUNKS, n_atoms, 3))

        orders = (0,) * self._weights.shape[1]

        def memory() -> Array:
            return np.empty((kernels.N_ROWS, self._longest), self._real)

        def blocks() -> Array:
            return np.empty(self._longest * (kernels.W // kernels.LANES + 2 * len(orders) + 1), self._real)

        def find(_: int, first: int, end: int) -> None:
            kernels.find(
                first, end, groups, structure, self._listed, self._constants, self._bond_length, near, close, memory(),
                blocks(), coordination,
            )  # fmt: skip

        def energies(_: int, first: int, end: int) -> None:
            kernels.energies(
                first, end, groups, structure, near, self._constants, self._pair_table, factors, orders,
                self._references, self._weights, self._weights_slope, self._half, self._half_slope, blocks(), sums,
                by_coordination if self._counted else None, forces, virials,
            )  # fmt: skip

        def pull(_: int, first: int, end: int) -> None:
            kernels.pull(first, end, groups, structure, close, change, blocks(), forces, virials)

        factors = self._factors.astype(self._real)
        shared(find, CHUNKS, threads)
        if self._counted:
            kernels.interpolate(
                self._kind, coordination.sum(0), self._reference, self._references, self._reference_c6,
                REFERENCE_STEEPNESS, self._weights, self._weights_slope, self._half, self._half_slope,
            )  # fmt: skip
        shared(energies, CHUNKS, threads)
        if self._counted:
            change = by_coordination.sum(0).astype(self._real)
            shared(pull, CHUNKS, threads)
        s0, s1 = (sums.sum(0) * self._sum_factors).T
        return CSOResult(
            energy=self._tensor(-self._alpha * (s0 + self._a1 * s1)),
            forces=self._tensor(forces.sum(0)),
            virial=self._tensor(virials.sum(0)[:, [[0, 5, 4], [5, 1, 3], [4, 3, 2]]]),
            s0=self._tensor(s0),
            s1=self._tensor(s1),
        )

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=self._real))
