"""A MACE model of liquids with the CSO dispersion correction, as one torch-sim model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_sim as ts
from ase import Atoms
from torch import Tensor
from torch_sim.models.interface import SumModel
from torch_sim.state import SimState

from physembed.cso import CSOModel, CSOParameters, Cutoffs
from physembed.cso.compiled import CompiledCSO
from physembed.cso.energy import Values
from physembed.cso.model import same
from physembed.engine.beyond_cutoff import vanishes_beyond_cutoff
from physembed.engine.compiled.admission import compiled
from physembed.engine.compiled.models import CompiledLiquid
from physembed.engine.device import resolve_device
from physembed.engine.mace import LiquidMace
from physembed.model_files.file import load_module
from physembed.pairs.cells import volumes
from physembed.pairs.neighbors import SkinList
from physembed.pairs.padded_list import OnPairs, PaddedList

CPU_SKIN_A = 2.0
"""Skin of the list of dispersion pairs on a CPU. It takes as long to make as ten evaluations of the correction."""


class ListedCSO(OnPairs, CSOModel):
    """`CSOModel` on a list of pairs that is reused between calls, always with forces and stress."""

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
        self.fixed_shapes = fixed_shapes
        self._compiled: CompiledCSO | None = None
        self._compiled_for: tuple[Tensor, Tensor] | None = None
        self.list = PaddedList(self.reach, half=True) if fixed_shapes else SkinList(CPU_SKIN_A, half=True)

    def forward(self, state: SimState, **_kwargs: object) -> dict[str, Tensor]:
        """Evaluate the correction; input, output and errors as in `CSOModel`."""
        if isinstance(self.list, SkinList) and self.device.type == "cpu":
            structure = state.positions, state.row_vector_cell, state.pbc
            kept = self.list.kept(*structure, self.reach, state.system_idx)
            result = self.compiled(state).evaluate(self.list.rows, kept, torch.get_num_threads())
        else:
            first, second, vectors = self.edges(state)
            result = self.interaction(state).evaluate(vectors, first, second)
        stress = result.virial / volumes(state.row_vector_cell)[:, None, None]
        names = {"energy": result.energy, "forces": result.forces, "stress": stress}
        return names | {"cso_S0": result.s0, "cso_S1": result.s1}

    def compiled(self, state: SimState) -> CompiledCSO:
        """The interaction compiled for a CPU."""
        atoms = state.atomic_numbers, state.system_idx
        if self._compiled is None or self._compiled_for is None or not all(map(same, atoms, self._compiled_for)):
            self._compiled = CompiledCSO(
                self.convention, self.cutoffs, self.parameters, *atoms, state.n_systems, self.dtype
            )
        self._compiled_for = atoms
        return self._compiled

    @property
    def reach(self) -> float:
        """Distance in Å beyond which a pair contributes nothing."""
        return self.convention.reach(self.cutoffs)


class LiquidModel(SumModel):
    """MACE + CSO for a batch of systems, each with its own parameters.

    The output contains `energy` (n_systems,) eV, `forces` (n_atoms, 3) eV/Å and `stress` (n_systems, 3, 3) eV/Å^3
    (positive under tension; zero without periodicity), all with the correction, and for reweighting `base_energy`,
    the energy of MACE alone, `cso_S0` and `cso_S1`, (n_systems,) eV each:
    energy = base_energy - alpha (cso_S0 + a1 cso_S1). They are also computed for systems with alpha = 0, but not by
    `base` alone.
    """

    def __init__(self, base: LiquidMace | CompiledLiquid, cso: ListedCSO) -> None:
        super().__init__(base, cso)

    @property
    def base(self) -> LiquidMace | CompiledLiquid:
        """MACE alone."""
        return self.models[0]

    @property
    def cso(self) -> ListedCSO:
        """The correction alone."""
        return self.models[1]

    @property
    def fixed_shapes(self) -> bool:
        """Whether an evaluation can be captured in a CUDA graph."""
        return self.base.fixed_shapes

    @property
    def lists(self) -> tuple[PaddedList, ...]:
        """Pair lists that the caller has to verify; empty if the lists verify themselves."""
        return self.base.lists + self.cso.lists

    def make_lists(self, state: Any) -> None:
        """Build all pair lists for a state."""
        self.base.make_lists(state)
        self.cso.make_lists(state)

    def with_parameters(self, alpha: Values, a1: Values) -> LiquidModel:
        """The same MACE model (weights are shared) with other parameters: for other systems, or a subset of the batch.

        Args:
            alpha: prefactors, one for all systems or one per system.
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
        return LiquidModel(self.base.again(), cso)

    def forward(self, state: SimState, **_kwargs: object) -> dict[str, Tensor]:
        """Evaluate both models.

        Args:
            state: positions and cells in Å.

        Raises:
            PhysEmbedError: an element has no CSO parameters, or the number of values is neither one nor n_systems.
        """
        base, output = self.base(state), self.cso(state)
        for name in ("energy", "forces", "stress"):
            output[name] = base[name] + output[name]
        if not self.fixed_shapes and not state.pbc.any():
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


def mace_of_liquids(
    module: torch.nn.Module, device: str, dtype: str, *, fixed_shapes: bool = False
) -> LiquidMace | CompiledLiquid:
    """A MACE model of periodic systems without a correction, on a CPU by compiled code if that supports the model.

    Args:
        module: the MACE model.
        device: `cpu` or `cuda`.
        dtype: `float32` or `float64`.
        fixed_shapes: as in `load_liquid`; ignored for a model in which pairs beyond the cutoff contribute.
    """
    # Fixed shapes are obtained by padding with pairs beyond the cutoff.
    fixed_shapes = fixed_shapes and vanishes_beyond_cutoff(module)
    evaluator = compiled(module, dtype) if device == "cpu" and not fixed_shapes else None
    if evaluator is not None:
        return CompiledLiquid(evaluator)
    return LiquidMace(module, torch.device(device), getattr(torch, dtype), fixed_shapes)


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
    """`load_liquid` for a module that is already loaded."""
    base = mace_of_liquids(module, device, dtype, fixed_shapes=fixed_shapes)
    fixed_shapes = base.fixed_shapes
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
    """A MACE model with the CSO correction, for batches of liquids or of isolated molecules.

    MACE runs through cuEquivariance on a GPU and through compiled code on a CPU, if it supports the model. The file is
    a pickle, which can run arbitrary code when loaded: load only files that you trust.

    Args:
        model_file: a MACE model.
        device: `auto`, `cpu` or `cuda`.
        dtype: `float32` or `float64`; the model is converted to it.
        convention: `d3` or `d2` (see docs/background/cso.md).
        alpha: prefactor of the correction, one value for all systems or one per system.
        a1: its medium-range strength, likewise.
        cutoffs: its cutoffs; the default is that of the convention.
        fixed_shapes: for MD on a GPU: evaluations can be captured in a CUDA graph; systems have to be periodic. No
            effect for a model in which pairs beyond the cutoff contribute.

    Raises:
        PhysEmbedError: the file contains no MACE model, or one with several heads, or the convention is unknown.
    """
    device = resolve_device(device)
    module = load_module(model_file, device)
    return corrected(
        module, device, dtype, convention=convention, alpha=alpha, a1=a1, cutoffs=cutoffs, fixed_shapes=fixed_shapes
    )
