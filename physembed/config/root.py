"""The whole configuration of a study: its sections with their defaults (the paper's protocol).

The models of this package are the single source of the defaults, of `config/schema.json` and of the tables in
`config/README.md`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from physembed.config.arm import Arm, Pretraining, kind_of
from physembed.config.base import Name, Positive, Section, Seed
from physembed.config.liquids import (
    NPT,
    Certificate,
    GaffNPT,
    LiquidModel,
    Liquids,
    Scan,
    Structure,
    Viscosity,
)
from physembed.config.molecules import (
    Frames,
    GaffMD,
    Labels,
    Metrics,
    Molecules,
    Stability,
    Survival,
    Topology,
    Training,
)


class Jobs(Section):
    """How jobs are run; nothing here changes a result or reruns a job."""

    max_walltime_hours: Positive | None = None
    """A stability, learning, scan, NPT or viscosity job that runs longer saves its state; the next call resumes it."""
    per_gpu: Annotated[int, Field(ge=1, le=100)] = 1
    """Jobs that share a GPU of this machine, such as trainings and stability runs of several seeds."""


class Config(Section):
    """A study."""

    study: Name = "paper"
    """Results go to `results/<study>/`; two configurations must not share one."""
    seed: Seed = 2026
    """Seed of all random draws except those of training."""
    jobs: Jobs = Jobs()
    molecules: Molecules = Molecules()
    topology: Topology = Topology()
    gaff_md: GaffMD = GaffMD()
    frames: Frames = Frames()
    arms: dict[Name, Arm] = {
        "original": Arm(bonds_per_frame=0),
        "adaptive": Arm(),
    }
    """The recipes that are compared, by name."""
    pretraining: Pretraining = Pretraining()
    labels: Labels = Labels()
    metrics: Metrics = Metrics()
    training: Training = Training()
    stability: Stability = Stability()
    survival: Survival = Survival()
    liquids: Liquids = Liquids()
    gaff_npt: GaffNPT = GaffNPT()
    models: dict[Name, LiquidModel] = {}
    """Models of liquids, by name; `liquids.models` selects those to run."""
    npt: NPT = NPT()
    scan: Scan = Scan()
    viscosity: Viscosity = Viscosity()
    structure: Structure = Structure()
    certificate: Certificate = Certificate()

    @property
    def arm_names(self) -> list[str]:
        """The arms: those that leave the frames as they are, then those that change them, take others', or take none.

        An overlay of the configuration can change the order of the arms in the file. Figures that show the first kinds
        only give them the same colours as those of all.
        """
        return sorted(self.arms, key=lambda name: kind_of(self.arms[name]))
