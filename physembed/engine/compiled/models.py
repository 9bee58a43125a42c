"""torch-sim models evaluated by compiled code: isolated molecules and liquids."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_sim.models.interface import ModelInterface

from physembed.engine.compiled.evaluator import CompiledMace
from physembed.pairs.cells import volumes
from physembed.pairs.neighbors import SkinList
from physembed.pairs.padded_list import OnPairs


class _Compiled(ModelInterface):
    """Common base: a batch that is prepared once, and as many threads as torch uses."""

    fixed_shapes = False

    def __init__(self, model: CompiledMace, stress: bool) -> None:
        super().__init__()
        self.model = model
        self._device, self._dtype = torch.device("cpu"), getattr(torch, model.dtype.name)
        self._compute_forces, self._compute_stress = True, stress
        self._prepared_for: tuple[Tensor, Tensor] | None = None
        self._numbers, self._starts = np.empty(0, dtype=np.int64), np.zeros(1, dtype=np.int64)

    @property
    def r_max(self) -> float:
        """Cutoff in Å."""
        return self.model.tables.r_max_A

    def prepare(self, state: Any) -> None:
        """Prepare for the atoms of a state, if they differ from those of the last one."""
        self.model.threads = torch.get_num_threads()
        prepared = self._prepared_for
        if prepared is None or prepared[0] is not state.atomic_numbers or prepared[1] is not state.system_idx:
            self._prepared_for = state.atomic_numbers, state.system_idx
            self._numbers = state.atomic_numbers.numpy()
            self._starts = np.append(0, np.cumsum(np.bincount(state.system_idx.numpy())))
            self._made()

    def _made(self) -> None:
        """Called after another batch has been prepared."""

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values if values.dtype == self.model.dtype else values.astype(self.model.dtype))


class CompiledIsolated(_Compiled):
    """MACE of isolated molecules, with energies and forces."""

    def __init__(self, model: CompiledMace) -> None:
        super().__init__(model, stress=False)

    def _made(self) -> None:
        self._batch = self.model.batch(self._numbers, self._starts)

    def forward(self, state: Any, **_: object) -> dict[str, Tensor]:
        """Evaluate a batch; see `physembed.engine.mace.IsolatedMace`.

        Raises:
            PhysEmbedError: the model does not support an element.
        """
        self.prepare(state)
        energies, forces = self._batch(state.positions.detach().numpy())
        return {"energy": self._tensor(energies), "forces": self._tensor(forces)}


class CompiledLiquid(OnPairs, _Compiled):
    """MACE of periodic systems, with energies, forces and stress."""

    def __init__(self, model: CompiledMace) -> None:
        super().__init__(model, stress=True)
        self.list = SkinList()

    def forward(self, state: Any, **_: object) -> dict[str, Tensor]:
        """Evaluate a batch; see `physembed.engine.mace.LiquidMace`.

        Raises:
            PhysEmbedError: the model does not support an element.
        """
        self.prepare(state)
        output = self.evaluate(*self.edges(state))
        virial = output.pop("virial")
        return output | {"stress": virial / volumes(state.row_vector_cell)[:, None, None]}

    def evaluate(self, first: Tensor, second: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        """Evaluate the prepared batch, on the given edges."""
        firsts, seconds, edges = (values.detach().numpy() for values in (first, second, vectors))
        energies, forces, virials = self.model.systems(firsts, seconds, edges, self._numbers, self._starts)
        virials = (virials + virials.transpose(0, 2, 1)) / 2
        return {
            "energy": self._tensor(energies),
            "forces": self._tensor(forces),
            "virial": self._tensor(virials),
        }

    def again(self) -> CompiledLiquid:
        """The same model for another batch."""
        other = copy.copy(self)
        other.list, other._prepared_for = SkinList(), None
        return other

    @property
    def reach(self) -> float:
        """Distance in Å beyond which a pair contributes nothing."""
        return self.r_max
