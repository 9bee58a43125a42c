"""MACE evaluated by compiled code on a CPU."""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols

from physembed.engine.compiled import kernels, library
from physembed.engine.compiled.edges import Couplings
from physembed.engine.compiled.geometry import Layout
from physembed.engine.compiled.pack import Packed, address, empty, shape_of
from physembed.engine.compiled.shape import Shape
from physembed.engine.compiled.tables import Tables
from physembed.errors import PhysEmbedError
from physembed.shares import shared

SMALL = 256
"""System size in atoms up to which threads divide systems rather than atoms."""


class _Workspace:
    """Arrays of one thread, or of one system shared by several threads, and the table of the kernels."""

    def __init__(self, shape: Shape, packed: Packed, cutoff_A: float) -> None:
        self._shape = shape
        self._real = np.dtype(np.float64 if shape.double else np.float32)
        self._slots = {name: index for index, name in enumerate(kernels.slots(shape))}
        self.table = np.zeros(len(self._slots), dtype=np.int64)
        self.address = address(self.table)
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

    def set(self, name: str, array: np.ndarray) -> None:
        """Store the address of an array in a slot."""
        if self._kept.get(name) is array:
            return
        self._kept[name] = array
        self.table[self._slots[name]] = address(array)

    def number(self, name: str, value: int) -> None:
        """Store a number in a slot."""
        self.table[self._slots[name]] = value

    def __getitem__(self, name: str) -> np.ndarray:
        return self._kept[name]

    def reserve(self, atoms: int, groups: int) -> None:
        """Enlarge the arrays to at least this size."""
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
    """A MACE model in a given precision, for any systems of its elements.

    The results of a system depend neither on the other systems in the batch nor on the number of threads.

    Args:
        tables: the model.
        dtype: float32 or float64.

    Attributes:
        threads: number of threads that share the work; they sleep while idle.
    """

    def __init__(self, tables: Tables, dtype: str) -> None:
        self.tables, self.threads = tables, 1
        self.dtype = np.dtype(dtype)
        self.shape = shape_of(tables, dtype == "float64", library.vector_bytes())
        self._library = kernels.load(self.shape)
        self._couplings = max((len(Couplings(layer).stored) for layer in self.shape.layers[1:]), default=0)
        self._present: list[int] = []
        self._element = np.full(int(max(tables.numbers)) + 1, -1, dtype=np.int32)
        self._own: dict[int, _Workspace] = {}

    def batch(self, numbers: np.ndarray, starts: np.ndarray) -> Molecules:
        """Isolated systems, to be evaluated at many positions.

        Args:
            numbers: (n_atoms,) atomic numbers of the systems, concatenated.
            starts: (n_systems + 1,) first atom of each system, and the number of atoms.

        Raises:
            PhysEmbedError: the model does not support an element.
        """
        return Molecules(self, numbers, starts)

    def systems(
        self, first: np.ndarray, second: np.ndarray, vectors: np.ndarray, numbers: np.ndarray, starts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies and forces as in `Molecules`, and virials (n_systems, 3, 3) in eV, of systems with given edges.

        The virial is the sum of r g^T over the edges, with g the gradient of the energy with respect to the edge r; in
        float64.

        Args:
            first: (n_edges,) first atoms of the edges, ascending.
            second: (n_edges,) second atoms; each pair of atoms occurs in both directions.
            vectors: (n_edges, 3) Å; edges beyond the cutoff contribute nothing.
            numbers: (n_atoms,) atomic numbers.
            starts: as in `batch`.

        Raises:
            PhysEmbedError: the model does not support an element.
        """
        species = self._for_elements(numbers)
        second = np.ascontiguousarray(second, dtype=np.int64)
        vectors = np.ascontiguousarray(vectors, dtype=self.dtype)
        forces = np.empty((len(numbers), 3), dtype=self.dtype)
        edges = np.searchsorted(first, np.arange(len(numbers) + 1))
        count = len(starts) - 1
        energies, virials = np.zeros(count), np.zeros((count, 3, 3))
        several = self.threads > 1 and count >= 2 * self.threads and len(numbers) <= SMALL * count

        def part(index: int, first: int, end: int) -> None:
            own = self._workspace(index)
            own.set("seconds", second)
            own.set("given", vectors)
            for system in range(first, end):
                atoms = slice(starts[system], starts[system + 1])
                energies[system] = self._system(
                    own, species, edges, atoms, forces, virials[system], 1 if several else self.threads
                )

        if several:
            shared(part, count, self.threads)
        else:
            part(0, 0, count)
        return energies, forces, virials

    def _system(
        self,
        own: _Workspace,
        species: np.ndarray,
        edges: np.ndarray,
        atoms: slice,
        forces: np.ndarray,
        virial: np.ndarray,
        threads: int,
    ) -> float:
        """Evaluate one system: return its energy, write forces and virial."""
        n = atoms.stop - atoms.start
        starts = np.ascontiguousarray(edges[atoms.start : atoms.stop + 1], dtype=np.int64)
        groups = -(-np.diff(starts) // self.shape.lanes)
        own.reserve(n, int(groups.sum()) + 1)
        own["first_group"][0] = 0
        np.cumsum(groups, out=own["first_group"][1 : n + 1])
        local = np.zeros(own.atoms, dtype=np.int32)
        local[:n] = species[atoms]
        own.set("species", local)
        own.set("edge_starts", starts)
        own.set("forces", forces[atoms])
        own.number("atoms", n)
        own.number("first_atom", atoms.start)
        largest = int(groups.max(initial=0))
        block = kernels.block(self.shape)

        def whole_blocks(name: str) -> None:
            def part(_: int, first: int, end: int) -> None:
                self._call(name, own, first * block, min(end * block, n), self._scratch(largest))

            shared(part, -(-n // block), threads)

        for name in ("fill", *kernels.stages(self.shape)):
            whole_blocks(name)
        self._call("forces", own, 0, n, virial)
        atomic = self._packed.arrays["atomic_energy"][species[atoms]]
        return float((own["energy"][:n].astype(np.float64) + atomic).sum())

    def _for_elements(self, numbers: np.ndarray) -> np.ndarray:
        """Index of each atom's element in the arrays of the kernels, which are created for the elements present."""
        needed = set()
        for number in np.unique(numbers).tolist():
            if number not in self.tables.numbers:
                have = " ".join(chemical_symbols[known] for known in self.tables.numbers)
                raise PhysEmbedError(f"model: no {chemical_symbols[number]} (elements: {have}); use another model")
            needed.add(self.tables.numbers.index(number))
        if not needed <= set(self._present):
            self._present = sorted(needed | set(self._present))
            self._packed = Packed(self.tables, self.shape, self._present)
            self._own.clear()
            for index, element in enumerate(self._present):
                self._element[self.tables.numbers[element]] = index
        return np.ascontiguousarray(self._element[numbers])

    def _workspace(self, number: int) -> _Workspace:
        if number not in self._own:
            self._own[number] = _Workspace(self.shape, self._packed, self.tables.r_max_A)
        return self._own[number]

    def _scratch(self, groups_per_atom: int) -> np.ndarray:
        # A kernel writes at least a virial there, nine doubles.
        return empty(max(18, groups_per_atom * self._couplings * self.shape.lanes), self.dtype)

    def _call(self, name: str, own: _Workspace, first: int, end: int, scratch: np.ndarray) -> None:
        self._library[name](own.address, first, end, address(scratch))


class Molecules:
    """Isolated systems for which a model is evaluated repeatedly."""

    def __init__(self, model: CompiledMace, numbers: np.ndarray, starts: np.ndarray) -> None:
        self._model, self._numbers = model, np.asarray(numbers)
        self._starts = np.ascontiguousarray(starts, dtype=np.int64)
        self._count = len(starts) - 1
        self._largest = int(np.diff(self._starts).max(initial=0))
        self._groups = -(-max(self._largest - 1, 1) // model.shape.lanes)
        self._species = model._for_elements(self._numbers)
        self._scratches: dict[int, np.ndarray] = {}
        self._own: dict[int, _Workspace] = {}

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (n_systems,) in eV, in float64, and forces (n_atoms, 3) in eV/Å, at positions (n_atoms, 3) in Å."""
        model = self._model
        positions = np.ascontiguousarray(positions, dtype=model.dtype)
        energies, forces = np.empty(self._count), np.empty_like(positions)

        def part(index: int, first: int, end: int) -> None:
            own = model._workspace(index)
            if self._own.get(index) is not own:
                # At the first call, or after the model was used for other elements.
                self._own[index] = own
                self._species = model._for_elements(self._numbers)
                self._scratches[index] = model._scratch(self._groups)
            own.reserve(self._largest, self._largest * self._groups + 1)
            for name, array in (("starts", self._starts), ("all_species", self._species)):
                own.set(name, array)
            for name, array in (("positions", positions), ("forces", forces), ("energies", energies)):
                own.set(name, array)
            model._call("molecules", own, first, end, self._scratches[index])

        shared(part, self._count, model.threads)
        return energies, forces
