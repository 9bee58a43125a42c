"""Model files as models to work with: in ASE, in torch-sim, and by MACE's own code for comparison.

A file is a corrected model (`corrected_model.pt`), any other MACE file, or a committee (`physembed committee`). All are
pickles, which can run any code when they are loaded: load only files that you trust.
"""

from __future__ import annotations

from ase.calculators.calculator import Calculator

from physembed.engine.compiled.models import CompiledLiquid
from physembed.engine.device import resolve_device
from physembed.engine.liquid_model import LiquidModel
from physembed.engine.mace import LiquidMace
from physembed.models.committee import CommitteeCalculator, CommitteeModel
from physembed.models.members import Files, Member, load_members

TorchSimModel = LiquidModel | LiquidMace | CompiledLiquid | CommitteeModel


def load_torchsim(path: Files, device: str = "auto", dtype: str = "float64") -> TorchSimModel:
    """A model for torch-sim, with the same parameters for any number of systems.

    Args:
        path: a model file, or several, which are a committee.
        device: `auto`, `cpu` or `cuda`.
        dtype: `float64`, or `float32`, which is faster.

    Returns:
        A model with energies, forces and stresses; `LiquidModel` says what a corrected model gives besides,
        `CommitteeModel` what a committee does.

    Raises:
        PhysEmbedError: a file holds no model, or several cannot form a committee.
    """
    return torchsim_of(load_members(path), device, dtype)


def torchsim_of(members: list[Member], device: str, dtype: str) -> TorchSimModel:
    """`load_torchsim` for models that are loaded."""
    models = [member.torchsim(resolve_device(device), dtype) for member in members]
    return models[0] if len(models) == 1 else CommitteeModel(models)


def load_ase(path: Files, device: str = "auto", dtype: str = "float64") -> Calculator:
    """A model for ASE, with energy, forces and, of a periodic structure, stress.

    On a CPU compiled code evaluates MACE, if it can (docs/development/engine.md), else MACE's own calculator.

    Args:
        path: a model file, or several, which are a committee.
        device: `auto`, `cpu` or `cuda`, of MACE; the correction runs on the CPU.
        dtype: `float64`, or `float32`, which is faster, of MACE.

    Returns:
        A calculator; `CommitteeCalculator` says what that of a committee gives besides.

    Raises:
        PhysEmbedError: a file holds no model, or several cannot form a committee.
    """
    calculators = [member.ase(resolve_device(device), dtype) for member in load_members(path)]
    return calculators[0] if len(calculators) == 1 else CommitteeCalculator(calculators)


def reference_calculator(members: list[Member]) -> Calculator:
    """Models by MACE's own calculator and `CSOCalculator`, in float64 on the CPU.

    It shares nothing with the fast evaluators, which are checked against it.
    """
    calculators = [member.reference() for member in members]
    return calculators[0] if len(calculators) == 1 else CommitteeCalculator(calculators)
