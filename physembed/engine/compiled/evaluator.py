"""MACE evaluated by compiled code on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from physembed.engine.compiled import kernels, library
from physembed.engine.compiled.edges import Couplings
from physembed.engine.compiled.geometry import Layout
from physembed.engine.compiled.pack import Packed, empty, shape_of
from physembed.engine.compiled.shape import Shape
from physembed.engine.compiled.tables import Tables


@dataclass(frozen=True)
class Evaluation:
    """Of one periodic or isolated system."""

    energies: np.ndarray
    """(n_atoms,) eV, with the atomic energies, in float64."""
    forces: np.ndarray
    """(n_atoms, 3) eV/Å."""
    virial: np.ndarray
    """(3, 3) eV: sum of r g^T over the edges, g = dE / dr; in float64."""


class _Workspace:
    """Arrays of one thread, or of one system that several work on, and the table of the kernels."""

    def __init__(self, shape: Shape, packed: Packed, cutoff_A: float) -> None:
        self._shape = shape
        self._real = np.dtype(np.float64 if shape.double else np.float32)
        self._slots = {name: index for index, name in enumerate(kernels.slots(shape))}
        self.table = np.zeros(len(self._slots), dtype=np.int64)
        self._kept: dict[str, np.ndarray] = {}
        self.atoms = self.groups = 0
        for name, array in packed.arrays.items():
            self.set(name, array)
        interval = packed.intervals / cutoff_A
        numbers = {
            "intervals_per_A": interval,
            "last_interval": packed.intervals - 1,
            "cutoff_square": cutoff_A**2,
        }
        for name, value in numbers.items():
            self.table[self._slots[name]] = kernels.bits(float(value))
        self.table[self._slots["table_rows"]] = packed.intervals + 5
        self.table[self._slots["receiver_stride"]] = packed.receiver_stride
        self.table[self._slots["elements"]] = len(packed.arrays["atomic_energy"])
        self.set("virial", empty(9, np.float64))

    def set(self, name: str, array: np.ndarray) -> None:
        """Let a slot point to an array."""
        self._kept[name] = array
        self.table[self._slots[name]] = array.ctypes.data

    def number(self, name: str, value: int) -> None:
        """Set a slot to a number."""
        self.table[self._slots[name]] = value

    def __getitem__(self, name: str) -> np.ndarray:
        return self._kept[name]

    def reserve(self, atoms: int, groups: int) -> None:
        """Make the arrays at least so large."""
        shape, lanes = self._shape, self._shape.lanes
        if atoms > self.atoms:
            self.atoms = -(-atoms // 8) * 8
            for name, width in kernels.sizes(shape).items():
                self.set(name, empty(self.atoms * width, self._real))
            self.set("n_edges", empty(self.atoms, np.int32))
            self.set("first_group", empty(self.atoms + 1, np.int32))
        if groups > self.groups:
            self.groups = groups
            for name in ("neighbour", "interval"):
                self.set(name, empty(groups * lanes, np.int32))
            for name in ("vectors", "gradient"):
                self.set(name, empty(groups * 3 * lanes, self._real))
            self.set("geometry", empty(groups * Layout(shape).width * lanes, self._real))
            self.set("by_harmonics", empty(groups * lanes * shape.gradient_width, self._real))


class CompiledMace:
    """A MACE model in a precision, for any systems of its elements.

    The results of a system do not depend on what else is evaluated with it nor on the number of threads.

    Args:
        tables: the model.
        dtype: float32 or float64.
        threads: how many share the work.
    """

    def __init__(self, tables: Tables, dtype: str, threads: int = 1) -> None:
        self.tables, self.threads = tables, threads
        self.double = dtype == "float64"
        self.dtype = np.dtype(dtype)
        self.shape = shape_of(tables, self.double, library.vector_bytes())
        self._library = library.load(self.shape)
        self._couplings = max((len(Couplings(layer).stored) for layer in self.shape.layers[1:]), default=0)
        self._present: list[int] = []
        self._element = np.full(int(max(tables.numbers)) + 1, -1, dtype=np.int32)
        self._own: dict[int, _Workspace] = {}
        self._pool: ThreadPoolExecutor | None = None

    def _for_elements(self, numbers: np.ndarray) -> np.ndarray:
        """Index of each atom's element in the arrays of the kernels, which are made for those that are present."""
        needed = {self.tables.numbers.index(int(number)) for number in np.unique(numbers)}
        if not needed <= set(self._present):
            self._present = sorted(needed | set(self._present))
            self._packed = Packed(self.tables, self.shape, self._present)
            self._own.clear()
            self._element[:] = -1
            for index, element in enumerate(self._present):
                self._element[self.tables.numbers[element]] = index
        return self._element[numbers]

    def _workspace(self, number: int) -> _Workspace:
        if number not in self._own:
            self._own[number] = _Workspace(self.shape, self._packed, self.tables.r_max_A)
        return self._own[number]

    def _scratch(self, groups_per_atom: int) -> np.ndarray:
        return empty(max(1, groups_per_atom * self._couplings * self.shape.lanes), self.dtype)

    def molecules(
        self, positions: np.ndarray, numbers: np.ndarray, starts: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies (n_systems,) in eV, in float64, and forces (n_atoms, 3) in eV/Å of isolated systems.

        Args:
            positions: (n_atoms, 3) Å, of the systems one after another.
            numbers: (n_atoms,) atomic numbers.
            starts: first atom of each system, and the number of atoms.
        """
        species = self._for_elements(numbers)
        positions = np.ascontiguousarray(positions, dtype=self.dtype)
        begins = np.asarray(starts, dtype=np.int64)
        energies, forces = np.zeros(len(begins) - 1), np.zeros_like(positions)
        largest = int(np.diff(begins).max(initial=0))
        each = -(-max(largest - 1, 1) // self.shape.lanes)
        threads = min(self.threads, max(1, len(energies)))
        bounds = np.linspace(0, len(energies), threads + 1).round().astype(int)

        def part(index: int) -> None:
            own = self._workspace(index)
            own.reserve(largest, largest * each + 1)
            for name, array in (
                ("starts", begins),
                ("positions", positions),
                ("all_species", species),
                ("forces", forces),
                ("energies", energies),
            ):
                own.set(name, array)
            scratch = self._scratch(each)
            self._library["molecules"](own.table.ctypes.data, bounds[index], bounds[index + 1], scratch.ctypes.data)

        self._shared(part, threads)
        return energies, forces

    def system(self, first: np.ndarray, second: np.ndarray, vectors: np.ndarray, numbers: np.ndarray) -> Evaluation:
        """Evaluate one system on the edges between its atoms.

        Args:
            first: (n_edges,) atoms that the edges begin at, ascending.
            second: (n_edges,) atoms that they end at; each pair of atoms is there in both directions.
            vectors: (n_edges, 3) Å; those beyond the cutoff are left out.
            numbers: (n_atoms,) atomic numbers.
        """
        species, n = np.ascontiguousarray(self._for_elements(numbers)), len(numbers)
        own = self._workspace(-1)
        starts = np.searchsorted(first, np.arange(n + 1)).astype(np.int64)
        groups = -(-np.diff(starts) // self.shape.lanes)
        own.reserve(n, int(groups.sum()) + 1)
        own["first_group"][0] = 0
        np.cumsum(groups, out=own["first_group"][1 : n + 1])
        forces = np.zeros((n, 3), dtype=self.dtype)
        padded = np.zeros(own.atoms, dtype=np.int32)
        padded[:n] = species
        for name, array in (
            ("species", padded),
            ("edge_starts", starts),
            ("seconds", np.ascontiguousarray(second, dtype=np.int64)),
            ("given", np.ascontiguousarray(vectors, dtype=self.dtype)),
            ("forces", forces),
        ):
            own.set(name, array)
        own.number("atoms", n)
        self._over_atoms("fill", own, n, 0)
        for stage in kernels.stages(self.shape):
            self._over_atoms(stage, own, n, int(groups.max(initial=0)))
        self._library["forces"](own.table.ctypes.data, 0, n, None)
        energies = own["energy"][:n].astype(np.float64) + self._packed.arrays["atomic_energy"][species]
        return Evaluation(energies, forces, own["virial"].reshape(3, 3).copy())

    def _over_atoms(self, name: str, own: _Workspace, n: int, groups_per_atom: int) -> None:
        """Run a kernel over all atoms, which the threads share out in whole blocks."""
        block = kernels.block(self.shape)
        blocks = -(-n // block)
        threads = max(1, min(self.threads, blocks))
        bounds = np.minimum(np.linspace(0, blocks, threads + 1).round().astype(int) * block, n)

        def part(index: int) -> None:
            scratch = self._scratch(groups_per_atom)
            self._library[name](own.table.ctypes.data, bounds[index], bounds[index + 1], scratch.ctypes.data)

        self._shared(part, threads)

    def _shared(self, part: object, threads: int) -> None:
        if threads == 1:
            part(0)  # type: ignore[operator]
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="mace")
        list(self._pool.map(part, range(threads)))  # type: ignore[arg-type]
