"""MACE as torch-sim models of isolated molecules and of liquids."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mace.calculators.mace_torchsim import MaceTorchSimModel
from torch import Tensor

from physembed.engine.beyond_cutoff import vanishes_beyond_cutoff
from physembed.engine.compiled.admission import compiled
from physembed.engine.compiled.models import CompiledIsolated
from physembed.engine.device import half_as_many, systems_that_fit
from physembed.model_files.file import default_head, load_module
from physembed.pairs.cells import volumes
from physembed.pairs.neighbors import SkinList, all_pairs
from physembed.pairs.padded_list import OnPairs, PaddedList


class PreparedMace(MaceTorchSimModel):
    """MACE with its input, except the geometry, prepared once per batch.

    The batch is identified by the tensors of atomic numbers and system indices of a state; other tensors are prepared
    again. After that, evaluations do not synchronise with the device and can be captured in a CUDA graph.
    """

    _prepared_for: tuple[Tensor, Tensor] | None = None

    def prepare(self, state: Any) -> None:
        """Prepare the input for the atoms of a state, if this has not been done."""
        prepared = self._prepared_for
        if prepared is None or prepared[0] is not state.atomic_numbers or prepared[1] is not state.system_idx:
            self.setup_from_system_idx(state.atomic_numbers, state.system_idx)
            self._prepared_for = state.atomic_numbers, state.system_idx
            self._made(state)

    def _made(self, state: Any) -> None:
        """Called after a batch has been prepared."""


@dataclass(frozen=True)
class _Part:
    """Systems that are evaluated together."""

    atoms: slice
    data: dict[str, Tensor]
    """MACE's input without the positions."""


class IsolatedMace(PreparedMace):
    """MACE on all pairs of atoms of each molecule, without a neighbour list.

    MACE's radial functions vanish beyond r_max and its radial network has no bias, so pairs beyond r_max contribute
    exactly zero. For models in which they do not vanish, these pairs are excluded.

    On a CPU, where arithmetic dominates, pairs beyond r_max are excluded from each evaluation; this cannot be captured
    in a graph.

    A batch is evaluated in parts if it does not fit in the memory of the GPU. If memory runs out nevertheless, the
    size of the parts is halved.
    """

    def __init__(self, module: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(module, device=device, dtype=dtype, compute_stress=False, enable_cueq=device.type == "cuda")
        self._parts: list[_Part] = []
        self.systems_at_once = 0
        """Systems that are evaluated together."""
        self.prune = device.type == "cpu" or not vanishes_beyond_cutoff(module)
        """Whether pairs beyond r_max are excluded."""

    def forward(self, state: Any, **_: object) -> dict[str, Tensor]:
        """Evaluate a batch.

        Args:
            state: positions in Å; cells are ignored.

        Returns:
            energy (n_systems,) eV and forces (n_atoms, 3) eV/Å.

        Raises:
            PhysEmbedError: the memory is too small for a single system.
            torch.cuda.OutOfMemoryError: during a capture; call `fewer_at_once`.
        """
        self.prepare(state)
        while True:
            try:
                outputs = [self._evaluate(part, state.positions) for part in self._parts]
                return {name: torch.cat([output[name] for output in outputs]) for name in ("energy", "forces")}
            except torch.cuda.OutOfMemoryError as error:
                # Other parts cannot be created during a capture.
                if self.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
                    raise
                self.fewer_at_once(error)

    def fewer_at_once(self, error: Exception) -> None:
        """Evaluate half as many systems at once, after running out of memory.

        Raises:
            PhysEmbedError: if it was already one.
        """
        self._divide(half_as_many(self.systems_at_once, error))

    def _made(self, state: Any) -> None:
        def evaluate(systems: int) -> object:
            return self._evaluate(self._part(0, systems), state.positions)

        self._divide(systems_that_fit(evaluate, self.n_systems, self.device))

    def _divide(self, systems_at_once: int) -> None:
        self.systems_at_once = systems_at_once
        firsts = range(0, self.n_systems, systems_at_once)
        self._parts = [self._part(first, min(first + systems_at_once, self.n_systems)) for first in firsts]

    def _part(self, first: int, end: int) -> _Part:
        """Systems from `first` up to `end`."""
        sizes: Sequence[int] = self.n_atoms_per_system[first:end]
        start = sum(self.n_atoms_per_system[:first])
        atoms, systems = slice(start, start + sum(sizes)), end - first
        edges = all_pairs(sizes).to(self.device)
        shifts = torch.zeros(edges.shape[1], 3, dtype=self.dtype, device=self.device)
        data = {
            "ptr": self.ptr[first : end + 1] - start,
            "node_attrs": self.node_attrs[atoms],
            "batch": self.system_idx[atoms] - first,
            "head": torch.full((systems,), self._head_index, device=self.device),
            "cell": torch.eye(3, dtype=self.dtype, device=self.device).repeat(systems, 1, 1),
            "edge_index": edges,
            "unit_shifts": shifts,
            "shifts": shifts,
        }
        return _Part(atoms, data)

    def _evaluate(self, part: _Part, positions: Tensor) -> dict[str, Tensor]:
        positions = positions[part.atoms].detach()
        data = part.data | {"positions": positions}
        if self.prune:
            first, second = data["edge_index"]
            vectors = positions.index_select(0, second) - positions.index_select(0, first)
            # A non-finite distance is kept: its replica has to be detected as failed.
            near = (~(vectors.square().sum(1) > self.r_max**2)).nonzero()[:, 0]
            data |= {"edge_index": data["edge_index"].index_select(1, near)}
            data |= {name: data[name].index_select(0, near) for name in ("shifts", "unit_shifts")}
        output = self.model(data, compute_force=True, compute_stress=False)
        return {name: output[name].detach() for name in ("energy", "forces")}


class LiquidMace(OnPairs, PreparedMace):
    """MACE of periodic systems, with forces and stress from one gradient with respect to the edge vectors.

    With `fixed_shapes`, for MD on a GPU, whose steps are replayed as a CUDA graph, all pairs of the list are evaluated,
    including those in its skin, and systems have to be periodic.

    With g = dE / dr for the edge from atom i to atom j, r = r_j - r_i + shift, the force is g on i and -g on j, and the
    stress is the sum of r g^T over the edges of a system, symmetrised and divided by its volume.
    """

    def __init__(
        self, module: torch.nn.Module, device: torch.device, dtype: torch.dtype, fixed_shapes: bool = False
    ) -> None:
        head = default_head(module, "model")
        super().__init__(module, device=device, dtype=dtype, enable_cueq=device.type == "cuda", head=head)
        self.fixed_shapes = fixed_shapes
        self.list = self._new_list()

    def forward(self, state: Any, **_: object) -> dict[str, Tensor]:
        """Evaluate a batch.

        Args:
            state: positions and cells in Å.

        Returns:
            energy (n_systems,) eV, forces (n_atoms, 3) eV/Å and stress (n_systems, 3, 3) eV/Å^3.
        """
        self.prepare(state)
        output = self.evaluate(*self.edges(state))
        virial = output.pop("virial")
        return output | {"stress": virial / volumes(state.row_vector_cell)[:, None, None]}

    def _made(self, state: Any) -> None:
        self._data = {
            "ptr": self.ptr,
            "node_attrs": self.node_attrs,
            "batch": self.system_idx,
            "head": torch.full((self.n_systems,), self._head_index, device=self.device),
            "cell": torch.eye(3, dtype=self.dtype, device=self.device).repeat(self.n_systems, 1, 1),
        }

    def again(self) -> LiquidMace:
        """The same model for another batch; the weights are shared."""
        other = copy.copy(self)
        other.list = self._new_list()
        other._prepared_for = None
        return other

    def _new_list(self) -> SkinList | PaddedList:
        return PaddedList(self.reach) if self.fixed_shapes else SkinList()

    @property
    def reach(self) -> float:
        """Distance in Å beyond which a pair contributes nothing."""
        return float(self.r_max)

    def evaluate(self, first: Tensor, second: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        """Evaluate the prepared batch.

        Args:
            first: (n_edges,) first atoms of the edges.
            second: (n_edges,) second atoms; each pair of atoms occurs in both directions.
            vectors: (n_edges, 3) Å.

        Returns:
            energy (n_systems,) eV, forces (n_atoms, 3) eV/Å and virial (n_systems, 3, 3) eV, stress times volume.
        """
        # MACE takes positions and shifts. With all positions at 0 the shifts are the edge vectors.
        positions = torch.zeros(self.total_atoms, 3, dtype=self.dtype, device=self.device)
        edges = {"edge_index": torch.stack([first, second]), "unit_shifts": vectors, "shifts": vectors}
        output = self.model(
            self._data | edges | {"positions": positions}, compute_force=False, compute_edge_forces=True
        )
        gradient = output["edge_forces"].detach()
        forces = torch.zeros_like(positions).index_add_(0, first, gradient).index_add_(0, second, gradient, alpha=-1)
        # Sum by atom first and then by system: a GPU is slow at accumulating into few elements.
        products = (vectors[:, :, None] * gradient[:, None, :]).view(-1, 9)
        of_atoms = products.new_zeros(self.total_atoms, 9).index_add_(0, first, products)
        virial = products.new_zeros(self.n_systems, 9).index_add_(0, self.system_idx, of_atoms).view(-1, 3, 3)
        return {
            "energy": output["energy"].detach(),
            "forces": forces,
            "virial": (virial + virial.transpose(1, 2)) / 2,
        }


def load_isolated(model_file: str | Path, device: str, dtype: str) -> IsolatedMace | CompiledIsolated:
    """A MACE model for batches of isolated molecules: energies in eV and forces in eV/Å, no stress.

    The model runs through cuEquivariance on a GPU and through compiled code on a CPU, if it supports the model. The
    file is a pickle, which can run arbitrary code when loaded: load only files that you trust.

    Raises:
        PhysEmbedError: the file contains no MACE model.
    """
    module = load_module(model_file, device)
    evaluator = compiled(module, dtype) if device == "cpu" else None
    if evaluator is not None:
        return CompiledIsolated(evaluator)
    return IsolatedMace(module, torch.device(device), getattr(torch, dtype))
