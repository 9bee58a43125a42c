"""The configuration of a study: one module per group of sections, combined in `root`, checked in `load`."""

from physembed.config.arm import Arm, Pretraining, Sampling
from physembed.config.base import ModelTraining, Section
from physembed.config.liquids import (
    NPT,
    Certificate,
    GaffNPT,
    LiquidModel,
    Liquids,
    LiquidTraining,
    Reference,
    Scan,
    Structure,
    Viscosity,
)
from physembed.config.load import load
from physembed.config.molecules import Frames, GaffMD, Labels, Molecules, Stability, Topology, Training
from physembed.config.root import Config, Jobs

__all__ = [
    "NPT",
    "Arm",
    "Certificate",
    "Config",
    "Frames",
    "GaffMD",
    "GaffNPT",
    "Jobs",
    "Labels",
    "LiquidModel",
    "LiquidTraining",
    "Liquids",
    "ModelTraining",
    "Molecules",
    "Pretraining",
    "Reference",
    "Sampling",
    "Scan",
    "Section",
    "Stability",
    "Structure",
    "Topology",
    "Training",
    "Viscosity",
    "load",
]
