"""PhysEmbed: machine-learning force fields for organic molecules and liquids that survive hot MD and get liquids right.

The names below are the public API (docs/how-to/library.md). Each is imported on first use, so that
`import physembed` does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from physembed.version import __version__ as __version__

if TYPE_CHECKING:
    from physembed.analysis.survival import compare_arms as compare_arms
    from physembed.analysis.survival import survival_curves as survival_curves
    from physembed.analysis.viscosity import estimate_viscosity as estimate_viscosity
    from physembed.config import Arm as Arm
    from physembed.config import Labels as Labels
    from physembed.engine.liquid_model import load_liquid as load_liquid
    from physembed.engine.mace import load_isolated as load_isolated
    from physembed.errors import PhysEmbedError as PhysEmbedError
    from physembed.labels.labelling import label_frames as label_frames
    from physembed.models.loading import load_ase as load_ase
    from physembed.models.loading import load_torchsim as load_torchsim
    from physembed.molecules.angles import angle_table as angle_table
    from physembed.molecules.bonds import bond_table as bond_table
    from physembed.sampling.arm import sample_frames as sample_frames

_MODULES = {
    "Arm": "config",
    "Labels": "config",
    "PhysEmbedError": "errors",
    "angle_table": "molecules.angles",
    "bond_table": "molecules.bonds",
    "compare_arms": "analysis.survival",
    "estimate_viscosity": "analysis.viscosity",
    "label_frames": "labels.labelling",
    "load_ase": "models.loading",
    "load_isolated": "engine.mace",
    "load_liquid": "engine.liquid_model",
    "load_torchsim": "models.loading",
    "sample_frames": "sampling.arm",
    "survival_curves": "analysis.survival",
}
"""The module of each public name."""

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _MODULES:
        raise AttributeError(f"module 'physembed' has no attribute {name!r}")
    return getattr(import_module(f"physembed.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
