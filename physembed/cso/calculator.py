"""The CSO correction as a calculator of ASE."""

from __future__ import annotations

from typing import ClassVar

import torch_sim
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from physembed.cso.energy import CSOParameters
from physembed.cso.model import CSOModel
from physembed.cso.parameters import Cutoffs


class CSOCalculator(Calculator):
    """Energy (eV), forces (eV/Å) and stress (eV/Å^3) of `CSOModel` in float64 on the CPU.

    Add it to another calculator with `ase.calculators.mixing.SumCalculator`. `results` also has `cso_S0` and
    `cso_S1` in eV.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, parameters: CSOParameters, convention: str = "d3", cutoffs: Cutoffs | None = None) -> None:
        """Choose parameters and convention, as for `CSOModel`.

        Raises:
            PhysEmbedError: there is no such convention.
        """
        super().__init__()
        self.model = CSOModel(parameters, convention, cutoffs)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results`.

        Raises:
            PhysEmbedError: an element has no parameters, or a parameter has more than one value.
            PropertyNotImplementedError: the stress of atoms that are not periodic is asked for.
        """
        super().calculate(atoms, properties, system_changes)
        periodic = self.atoms.pbc.any() and self.atoms.cell.rank == 3
        if properties and "stress" in properties and not periodic:
            raise PropertyNotImplementedError("CSO: these atoms have no periodic cell, so no stress")
        state = torch_sim.io.atoms_to_state([self.atoms], self.model.device, self.model.dtype)
        output = self.model(state)
        energy = float(output["energy"])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": output["forces"].numpy(),
            "cso_S0": float(output["cso_S0"]),
            "cso_S1": float(output["cso_S1"]),
        }
        if periodic:
            self.results["stress"] = full_3x3_to_voigt_6_stress(output["stress"][0].numpy())
