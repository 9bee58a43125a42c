"""A committee as one model: the mean of its members, and their spread as a measure of uncertainty.

The spread is the standard deviation over the M members, with M - 1 in the denominator: of the energy, and of the force
on an atom, sqrt(sum_m |F_m - F|^2 / (M - 1)) with the mean F. docs/background/uncertainty.md says how far to trust it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols
from torch import Tensor
from torch_sim.models.interface import ModelInterface

from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.model_files.file import load_pickle
from physembed.models.members import COMMITTEE, load_members
from physembed.provenance import file_hash, package_versions


class CommitteeModel(ModelInterface):
    """The mean of several models of torch-sim, with their spread.

    The output has the means `energy` (n_systems,) eV, `forces` (n_atoms, 3) eV/Å and `stress` (n_systems, 3, 3) eV/Å^3,
    and `energy_spread` (n_systems,) eV and `force_spread` (n_atoms,) eV/Å.
    """

    models: Any

    def __init__(self, models: Sequence[Any]) -> None:
        super().__init__()
        self.models = torch.nn.ModuleList(models)
        self._device, self._dtype = models[0].device, models[0].dtype
        self._compute_forces = self._compute_stress = True

    @property
    def fixed_shapes(self) -> bool:
        """Whether a CUDA graph can hold an evaluation."""
        return all(model.fixed_shapes for model in self.models)

    @property
    def lists(self) -> tuple[Any, ...]:
        """Lists of pairs that somebody has to look at (`physembed.engine.speculative_steps`)."""
        return tuple(pairs for model in self.models for pairs in model.lists)

    def make_lists(self, state: Any) -> None:
        """Make all of them for a state."""
        for model in self.models:
            model.make_lists(state)

    def forward(self, state: Any, **_: object) -> dict[str, Tensor]:
        """Evaluate all members.

        Args:
            state: positions and cells in Å.
        """
        outputs = [model(state) for model in self.models]
        stacked = {name: torch.stack([output[name] for output in outputs]) for name in ("energy", "forces", "stress")}
        result = {name: values.mean(dim=0) for name, values in stacked.items()}
        deviation = stacked["forces"] - result["forces"]
        result["energy_spread"] = stacked["energy"].std(dim=0)
        result["force_spread"] = (deviation.square().sum(dim=(0, 2)) / (len(outputs) - 1)).sqrt()
        return result


class CommitteeCalculator(Calculator):
    """The mean of several calculators of ASE; `results` also has `energy_spread` (eV) and `force_spread` (n_atoms,).

    Args:
        calculators: one for each member.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, calculators: Sequence[Calculator]) -> None:
        super().__init__()
        self.calculators = list(calculators)

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: list[str] = all_changes
    ) -> None:
        """Evaluate a structure; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        names = ["energy", "forces", *(["stress"] if self.atoms.cell.rank == 3 and self.atoms.pbc.any() else [])]
        values: dict[str, list[Any]] = {name: [] for name in names}
        for calculator in self.calculators:
            for name in names:
                values[name].append(calculator.get_property(name, self.atoms))
        means: dict[str, Any] = {name: np.mean(of_members, axis=0) for name, of_members in values.items()}
        means["energy"] = means["free_energy"] = float(means["energy"])
        deviation = np.stack(values["forces"]) - means["forces"]
        self.results = means | {
            "energy_spread": float(np.std(values["energy"], ddof=1)),
            "force_spread": np.sqrt((deviation**2).sum(axis=(0, 2)) / (len(self.calculators) - 1)),
        }


def committee_card(path: str | Path, saved: Mapping[str, Any]) -> str:
    """What a committee is, for a reader, in Markdown.

    Args:
        path: the file.
        saved: what it holds.
    """
    members = load_members(path)
    first, own = members[0], members[0].correction
    level = "none" if own is None else f"CSO, convention {own.convention}, alpha {own.alpha:g}, a1 "
    if own is not None:
        level += ", ".join(f"{member.correction.a1:.6g}" for member in members if member.correction)
    rows = {
        "members": str(len(members)),
        "elements": ", ".join(chemical_symbols[number] for number in first.elements),
        "r_max": f"{first.r_max:g} Å",
        "correction": level,
    }
    for place, member in enumerate(saved["facts"]["members"], 1):
        rows[f"member {place}"] = f"`{member['file']}`, SHA-256 `{member['sha256']}`"
    rows["file"] = f"`{Path(path).name}`, SHA-256 `{file_hash(path)}`"
    rows["made with"] = ", ".join(f"{name} {version}" for name, version in saved["facts"]["versions"].items())
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"# Committee\n\n| | |\n| --- | --- |\n{table}\n"


def write_committee(file: str | Path, models: Sequence[str | Path]) -> None:
    """Write several models as one file, which `load_ase`, `load_torchsim` and all engines take.

    Args:
        file: where it goes.
        models: files of MACE models or of corrected models.

    Raises:
        PhysEmbedError: there are fewer than two, a file holds no model, or they are of different elements, cutoffs or
            levels of correction.
    """
    members = load_members(models, "committee")
    if len(members) < 2:
        raise PhysEmbedError(f"committee: {members[0].name} alone; a spread needs two models or more")
    saved = [load_pickle(model, "cpu", "committee") for model in models]
    facts = {
        "members": [{"file": Path(model).name, "sha256": file_hash(model)} for model in models],
        "versions": package_versions(),
    }
    # An open file, because torch would store the name of the (temporary) file otherwise.
    with atomic(file) as temporary, temporary.open("wb") as handle:
        torch.save({"format": COMMITTEE, "members": saved, "facts": facts}, handle)
