"""Compiled MACE as an ASE calculator."""

from __future__ import annotations

from typing import Any

import torch_sim as ts
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from physembed.engine.compiled.evaluator import CompiledMace
from physembed.engine.compiled.models import CompiledLiquid


class CompiledCalculator(Calculator):
    """Energy in eV, forces in eV/Å and, if there is a cell, stress in eV/Å^3 (ASE's sign)."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012  # as in ASE

    def __init__(self, model: CompiledMace) -> None:
        super().__init__()
        self._model = CompiledLiquid(model)

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: list[str] = all_changes
    ) -> None:
        """Evaluate a structure; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        output = self._model(ts.io.atoms_to_state([self.atoms], self._model.device, self._model.dtype))
        energy = float(output["energy"][0])
        self.results = {"energy": energy, "free_energy": energy, "forces": output["forces"].double().numpy()}
        if self.atoms.cell.rank == 3:
            self.results["stress"] = full_3x3_to_voigt_6_stress(output["stress"][0].double().numpy())
