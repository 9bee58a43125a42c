"""DFT-CSO dispersion, the top-down correction of the energy: equation, torch-sim model, ASE calculator."""

from physembed.models.cso.calculator import CSOCalculator
from physembed.models.cso.energy import CSOInteraction, CSOParameters, CSOResult
from physembed.models.cso.model import CSOModel
from physembed.models.cso.parameters import CONVENTIONS, Convention, Cutoffs, get_convention

__all__ = [
    "CONVENTIONS",
    "CSOCalculator",
    "CSOInteraction",
    "CSOModel",
    "CSOParameters",
    "CSOResult",
    "Convention",
    "Cutoffs",
    "get_convention",
]
