"""The CSO correction as a model of torch-sim, to be added to another with torch-sim's `SumModel`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch_sim.models.interface import ModelInterface
from torch_sim.neighbors import torchsim_nl
from torch_sim.state import SimState

from physembed.cso.energy import CSOInteraction, CSOParameters
from physembed.cso.parameters import Cutoffs, get_convention
from physembed.pairs.unique import unique_pairs


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal."""
    # By identity first: to compare, the host would have to wait for the device.
    return one is other or torch.equal(one, other)


class CSOModel(ModelInterface):
    """CSO dispersion correction (Schröder, Creon, Schwabe, JCTC 2015, 11, 3163) of a batch of systems.

    Besides `energy` (n_systems,) eV, `forces` (n_atoms, 3) eV/Å and `stress` (n_systems, 3, 3) eV/Å^3 (positive
    under tension, as in ASE) the output has `cso_S0` and `cso_S1` (n_systems,) eV, with
    energy = -alpha (cso_S0 + a1 cso_S1). A system that is periodic in no direction has zero stress, as in MACE.
    """

    def __init__(
        self,
        parameters: CSOParameters,
        convention: str = "d3",
        cutoffs: Cutoffs | None = None,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float64,
        compute_forces: bool = True,
        compute_stress: bool = True,
        neighbor_list_fn: Callable[..., tuple[Tensor, Tensor, Tensor]] = torchsim_nl,
    ) -> None:
        """Choose parameters and convention.

        Args:
            parameters: one value for all systems of a state, or one for each.
            convention: `d3` or `d2`.
            cutoffs: ranges; the default is that of the convention.
            device: of the states; the CPU by default.
            dtype: of the states.
            compute_forces: whether to give forces.
            compute_stress: whether to give the stress.
            neighbor_list_fn: a neighbour list of `torch_sim.neighbors`.

        Raises:
            PhysEmbedError: there is no such convention.
        """
        super().__init__()
        self._device = device or torch.device("cpu")
        self._dtype = dtype
        self._compute_forces = compute_forces
        self._compute_stress = compute_stress
        self.parameters = parameters
        self.convention = get_convention(convention)
        self.cutoffs = cutoffs or self.convention.cutoffs
        self.neighbor_list_fn = neighbor_list_fn
        self._atoms: tuple[Tensor, Tensor] | None = None
        self._interaction: CSOInteraction | None = None

    @ModelInterface.compute_forces.setter
    def compute_forces(self, value: bool) -> None:
        """Whether to give forces."""
        self._compute_forces = value

    @ModelInterface.compute_stress.setter
    def compute_stress(self, value: bool) -> None:
        """Whether to give the stress."""
        self._compute_stress = value

    def interaction(self, state: SimState) -> CSOInteraction:
        """The correction of the atoms of this state; kept until a state with other atoms comes.

        Raises:
            PhysEmbedError: an element has no parameters, or a parameter has the wrong number of values.
        """
        atoms = (state.atomic_numbers, state.system_idx)
        if self._interaction is None or self._atoms is None or not all(map(same, atoms, self._atoms)):
            self._interaction = CSOInteraction(
                self.convention, self.cutoffs, self.parameters, *atoms, state.n_systems, self.dtype
            )
        self._atoms = atoms
        return self._interaction

    def forward(self, state: SimState, **_kwargs: object) -> dict[str, Tensor]:
        """Evaluate the correction.

        Args:
            state: positions and cells in Å.

        Returns:
            The output that the class describes.

        Raises:
            PhysEmbedError: an element has no parameters, or a parameter has the wrong number of values.
        """
        interaction = self.interaction(state)
        cell = state.row_vector_cell
        pairs, system, shifts = self.neighbor_list_fn(
            state.positions, cell, state.pbc, self.convention.reach(self.cutoffs), state.system_idx
        )
        once = unique_pairs(pairs, shifts).nonzero()[:, 0]
        first, second = pairs.index_select(1, once)
        vectors = state.positions.index_select(0, second) - state.positions.index_select(0, first)
        if state.pbc.any():
            cells = cell.index_select(0, system.index_select(0, once))
            vectors = vectors + torch.einsum("pi,pij->pj", shifts.index_select(0, once), cells)
        if not (self.compute_forces or self.compute_stress):
            with torch.no_grad():
                s0, s1 = interaction.sums(torch.linalg.vector_norm(vectors, dim=1), first, second)
            energy = -interaction.alpha * (s0 + interaction.a1 * s1)
            return {"energy": energy, "cso_S0": s0, "cso_S1": s1}
        result = interaction.evaluate(vectors, first, second)
        output = {"energy": result.energy, "cso_S0": result.s0, "cso_S1": result.s1}
        if self.compute_forces:
            output["forces"] = result.forces
        if self.compute_stress:
            output["stress"] = torch.zeros_like(result.virial)
            if state.pbc.any():
                output["stress"] = result.virial / torch.linalg.det(cell).abs()[:, None, None]
        return output
