"""A MACE model of liquids with the CSO dispersion correction, as one torch-sim model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch_sim as ts
from ase import Atoms
from torch import Tensor
from torch_sim.models.interface import SumModel
from torch_sim.state import SimState

from physembed.models.cso import CSOModel, CSOParameters, Cutoffs
from physembed.models.cso.energy import CSOInteraction, Values
from physembed.models.device import resolve_device
from physembed.models.file import load_module
from physembed.models.graphs import ReplayedOnEdges
from physembed.models.mace import LiquidMace
from physembed.models.neighbors import SkinList


class ListedCSO(CSOModel):
    """`CSOModel` on a list of pairs that is kept from one call to the next, with forces and stress always."""

    def __init__(
        self,
        parameters: CSOParameters,
        convention: str,
        cutoffs: Cutoffs | None,
        *,
        device: torch.device,
        dtype: torch.dtype,
        fixed_shapes: bool = False,
    ) -> None:
        super().__init__(parameters, convention, cutoffs, device=device, dtype=dtype)
        self.list = SkinList(half=True)
        self.fixed_shapes = fixed_shapes
        self._replayed_for: CSOInteraction | None = None

    def forward(self, state: SimState, **_kwargs: object) -> dict[str, Tensor]:
        """Evaluate the correction; input, output and errors are those of `CSOModel`."""
        interaction = self.interaction(state)
        cell = state.row_vector_cell
        reach = self.convention.reach(self.cutoffs)
        edges = self.list.pairs(state.positions, cell, state.pbc, reach, state.system_idx, skin=self.fixed_shapes)
        if not self.fixed_shapes:
            output = _evaluate(interaction, *edges)
        else:
            if interaction is not self._replayed_for:
                self._replayed = ReplayedOnEdges(partial(_evaluate, interaction), beyond_A=2 * reach)
                self._replayed_for = interaction
            output = self._replayed(*edges)
        virial = output.pop("virial")
        return output | {"stress": virial / torch.linalg.det(cell).abs()[:, None, None]}


def _evaluate(interaction: CSOInteraction, first: Tensor, second: Tensor, vectors: Tensor) -> dict[str, Tensor]:
    result = interaction.evaluate(vectors, first, second)
    names = {"energy": result.energy, "forces": result.forces, "virial": result.virial}
    return names | {"cso_S0": result.s0, "cso_S1": result.s1}


class LiquidModel(SumModel):
    """MACE + CSO of a batch of systems, each with parameters of its own.

    The output has `energy` (n_systems,) eV, `forces` (n_atoms, 3) eV/Å and `stress` (n_systems, 3, 3) eV/Å^3
    (positive under tension; zero without periodicity), all with the correction, and for reweighting `base_energy`,
    the energy of MACE alone, `cso_S0` and `cso_S1`, (n_systems,) eV each:
    energy = base_energy - alpha (cso_S0 + a1 cso_S1). They are there for systems with alpha = 0 too.
    """

    def __init__(self, base: LiquidMace, cso: ListedCSO) -> None:
        super().__init__(base, cso)

    @property
    def base(self) -> LiquidMace:
        """MACE alone."""
        return self.models[0]

    @property
    def cso(self) -> ListedCSO:
        """The correction alone."""
        return self.models[1]

    def with_parameters(self, alpha: Values, a1: Values) -> LiquidModel:
        """The same MACE model, not copied, with other parameters: for other systems, or for some of the batch.

        Args:
            alpha: prefactors, one for all systems or one for each.
            a1: likewise.
        """
        cso = ListedCSO(
            CSOParameters(alpha=alpha, a1=a1),
            self.cso.convention.name,
            self.cso.cutoffs,
            device=self.device,
            dtype=self.dtype,
            fixed_shapes=self.cso.fixed_shapes,
        )
        return LiquidModel(self.base, cso)

    def forward(self, state: SimState, **_kwargs: object) -> dict[str, Tensor]:
        """Evaluate both models.

        Args:
            state: positions and cells in Å.

        Raises:
            PhysEmbedError: an element has no CSO parameters, or there are neither one nor n_systems values of one.
        """
        base, output = self.base(state), self.cso(state)
        for name in ("energy", "forces", "stress"):
            output[name] = base[name] + output[name]
        if not state.pbc.any():
            output["stress"] = torch.zeros_like(output["stress"])
        return output | {"base_energy": base["energy"]}


def evaluator(model: LiquidModel) -> Callable[[Sequence[Atoms]], tuple[np.ndarray, list[np.ndarray]]]:
    """Energies (n_frames,) in eV and forces, (n_atoms, 3) eV/Å for each frame, of structures in one batch."""

    def evaluate(frames: Sequence[Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
        output = model(ts.io.atoms_to_state(list(frames), device=model.device, dtype=model.dtype))
        forces = output["forces"].double().cpu().numpy()
        ends = np.cumsum([len(frame) for frame in frames])[:-1]
        return output["energy"].double().cpu().numpy(), np.split(forces, ends)

    return evaluate


def corrected(
    module: torch.nn.Module,
    device: str,
    dtype: str,
    *,
    convention: str,
    alpha: Values,
    a1: Values,
    cutoffs: Cutoffs | None = None,
    fixed_shapes: bool = False,
) -> LiquidModel:
    """`load_liquid` for a module that is loaded already."""
    base = LiquidMace(module, torch.device(device), getattr(torch, dtype), fixed_shapes)
    parameters = CSOParameters(alpha=alpha, a1=a1)
    cso = ListedCSO(parameters, convention, cutoffs, device=base.device, dtype=base.dtype, fixed_shapes=fixed_shapes)
    return LiquidModel(base, cso)


def load_liquid(
    model_file: str | Path,
    device: str,
    dtype: str,
    *,
    convention: str,
    alpha: Values,
    a1: Values,
    cutoffs: Cutoffs | None = None,
    fixed_shapes: bool = False,
) -> LiquidModel:
    """A MACE model with the CSO correction, for batches of liquids, or of isolated molecules.

    On a GPU MACE runs through cuEquivariance. The file is a pickle, which can run any code when it is loaded: load
    only files that you trust.

    Args:
        model_file: a MACE model.
        device: `cpu` or `cuda`.
        dtype: `float32` or `float64`; the model is converted to it.
        convention: `d3` or `d2` (see docs/cso.md).
        alpha: prefactor of the correction, one value for all systems or one for each.
        a1: its medium-range strength, likewise.
        cutoffs: its ranges; the default is that of the convention.
        fixed_shapes: for MD on a GPU: evaluations of a batch are captured and replayed as CUDA graphs.

    Raises:
        PhysEmbedError: if the file holds no MACE model or one of several heads, or there is no such convention.
    """
    module = load_module(model_file, device)
    return corrected(
        module, device, dtype, convention=convention, alpha=alpha, a1=a1, cutoffs=cutoffs, fixed_shapes=fixed_shapes
    )


class Point(Protocol):
    """A run with the parameters of its correction."""

    @property
    def alpha(self) -> float: ...
    @property
    def a1(self) -> float: ...


def models_of_points(
    model_file: str | Path, device: str, dtype: str, convention: str
) -> Callable[[Sequence[Point]], LiquidModel]:
    """What makes the model of a batch of runs, each with its alpha and a1; the file is loaded once.

    Args:
        model_file: a MACE model.
        device: `auto`, `cpu` or `cuda`.
        dtype: `float32` or `float64`.
        convention: of the correction.

    Raises:
        PhysEmbedError: as `load_liquid`.
    """
    device = resolve_device(device)
    graphs = device == "cuda"
    model = load_liquid(model_file, device, dtype, convention=convention, alpha=0.0, a1=0.0, fixed_shapes=graphs)

    def make(points: Sequence[Point]) -> LiquidModel:
        return model.with_parameters([point.alpha for point in points], [point.a1 for point in points])

    return make
