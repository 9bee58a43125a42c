"""Energy, forces and virial of the CSO correction on a CPU, by compiled loops over a list of pairs that is kept."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from physembed.engine.neighbors import Kept, Rows
from physembed.engine.numba_kernels import Array
from physembed.engine.shares import shared
from physembed.models.cso import kernels
from physembed.models.cso.energy import COUNTING_STEEPNESS, REFERENCE_STEEPNESS, CSOParameters, CSOResult
from physembed.models.cso.parameters import Convention, Cutoffs, require_elements
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
        self._kind, self._system = kind.numpy(), system.numpy()
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
        self._n_ref = (coordination >= 0.0).sum(1).numpy()
        self._reference = coordination[:, :n_ref].double().contiguous().numpy()
        self._reference_c6 = data.reference_c6[elements][:, elements, :n_ref, :n_ref].double().contiguous().numpy()
        self._counted = convention.coordination_dependent
        radius = data.covalent_radius[elements].numpy() * BOHR
        bond_length = radius[:, None] + radius[None, :] if self._counted else np.empty((0, 0))
        self._bond_length = bond_length.astype(self._real)

        n_atoms = len(kind)
        shape = (n_atoms, self._n_kinds, n_ref)
        self._weights, self._weights_slope = (np.ones((n_ref, n_atoms), self._real) for _ in range(2))
        self._half, self._half_slope = (np.empty(shape, self._real) for _ in range(2))
        if not self._counted:
            self._half[:] = self._reference_c6[self._kind, :, 0, :]
        starts = np.append(0, np.cumsum(np.bincount(self._system, minlength=n_systems)))
        chunk = (np.arange(n_atoms) - starts[self._system]) % CHUNKS
        bounds = np.append(0, np.cumsum(np.bincount(chunk, minlength=CHUNKS)))
        self._chunks = bounds, np.argsort(chunk, kind="stable")
        group = self._system * self._n_kinds + self._kind
        self._order = np.argsort(group, kind="stable")
        self._slot = np.argsort(self._order)
        first = np.append(0, np.cumsum(np.bincount(group, minlength=n_systems * self._n_kinds)))
        self._kind_bounds = first[np.arange(n_systems)[:, None] * self._n_kinds + np.arange(self._n_kinds + 1)]
        self._largest = int(np.diff(starts).max(initial=0))
        self._begins = np.empty((n_atoms, self._n_kinds + 1), np.int64)
        self._ends, self._counts = np.empty((n_atoms, self._n_kinds), np.int64), np.empty(n_atoms, np.int64)
        self._rows: Rows | None = None

    def _list(self, rows: Rows, n_images: int) -> None:
        """Put a new list in order."""
        places = len(rows.second) + len(self._kind) * kernels.LANES
        self._listed = np.empty((kernels.N_LISTED, places), np.uint32)
        dealt, whole = self._chunks[1], (rows.starts, rows.second, rows.image)
        kernels.sort_rows(dealt, self._kind, self._slot, *whole, self._listed, self._begins)
        number = np.full(len(self._kind) * n_images, -1, np.int32)
        found = kernels.number_images(self._begins, self._listed, n_images, number)
        self._codes, self._placed = np.flatnonzero(number >= 0), np.empty((found, 3), self._real)
        self._fields, self._partners = np.empty((kernels.N_FIELDS, places), self._real), np.empty(places, np.uint32)
        counted = places if self._counted else 0
        self._close = np.empty((kernels.N_FIELDS, counted), self._real), np.empty(counted, np.uint32), self._counts
        self._longest = max(int(np.diff(rows.starts).max(initial=0)), self._largest) + kernels.LANES
        self._rows = rows

    def evaluate(self, rows: Rows, kept: Kept, threads: int) -> CSOResult:
        """Energy, forces and virial.

        Args:
            rows: a list of half the pairs within the range of the interaction, or more of them.
            kept: where its atoms are.
            threads: how many share the work; the result does not depend on it.
        """
        positions, lattice, left = kept.positions.numpy(), kept.lattice.contiguous().numpy(), kept.left.numpy()
        n_atoms = len(self._kind)
        if rows is not self._rows:
            self._list(rows, lattice.shape[1])
        places = self._system, positions, lattice, left
        kernels.place_images(self._codes, self._order, *places, self._placed)
        coordination = np.zeros((CHUNKS, n_atoms if self._counted else 0))
        by_coordination = np.zeros_like(coordination)
        sums, virials = np.zeros((CHUNKS, self._n_systems, 2)), np.zeros((CHUNKS, self._n_systems, 6))
        forces = np.zeros((CHUNKS, n_atoms, 3))

        def memory() -> Array:
            return np.empty((kernels.N_ROWS, self._longest), self._real)

        def find(_: int, first: int, end: int) -> None:
            kernels.find(
                first, end, *self._chunks, self._kind, self._order, self._slot, *places, self._listed, self._begins,
                self._placed, self._constants, self._bond_length, self._fields, self._partners, self._ends,
                *self._close, memory(), np.empty(self._longest, np.uint32), coordination,
            )  # fmt: skip

        def energies(_: int, first: int, end: int) -> None:
            kernels.energies(
                first, end, *self._chunks, self._kind, self._slot, self._system, self._begins, self._ends,
                self._partners, self._constants, self._pair_table, factors, self._kind_bounds, self._n_ref,
                self._weights, self._weights_slope, self._half, self._half_slope, memory(), self._fields, sums,
                by_coordination, forces, virials,
            )  # fmt: skip

        def pull(_: int, first: int, end: int) -> None:
            kernels.pull(
                first, end, *self._chunks, self._slot, self._system, self._begins, *self._close, change, memory(),
                forces, virials,
            )  # fmt: skip

        factors = self._factors.astype(self._real)
        shared(find, CHUNKS, threads)
        if self._counted:
            kernels.interpolate(
                self._kind, self._slot, coordination.sum(0), self._reference, self._reference_c6, REFERENCE_STEEPNESS,
                self._weights, self._weights_slope, self._half, self._half_slope,
            )  # fmt: skip
        shared(energies, CHUNKS, threads)
        if self._counted:
            change = by_coordination.sum(0).astype(self._real)
            shared(pull, CHUNKS, threads)
        s0, s1 = (sums.sum(0) * self._sum_factors).T
        return CSOResult(
            energy=self._tensor(-self._alpha * (s0 + self._a1 * s1)),
            forces=self._tensor(forces.sum(0)[self._slot]),
            virial=self._tensor(virials.sum(0)[:, [[0, 5, 4], [5, 1, 3], [4, 3, 2]]]),
            s0=self._tensor(s0),
            s1=self._tensor(s1),
        )

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=self._real))
