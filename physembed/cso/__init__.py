"""DFT-CSO dispersion, the top-down correction of the energy: equation, torch-sim model, ASE calculator."""

from physembed.cso.calculator import CSOCalculator
from physembed.cso.energy import CSOInteraction, CSOParameters, CSOResult
from physembed.cso.model import CSOModel
from physembed.cso.parameters import CONVENTIONS, Convention, Cutoffs, get_convention

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
