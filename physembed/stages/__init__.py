"""What each stage is given of a study: a function for each rule, of the same name.

A function takes the study and, by their names, those wildcards of the rule that it needs, and returns plain values:
the `settings` of the rule. Snakemake runs a job again when they change, so a stage is given what it uses and no more;
a seed only where it draws. Sections of the configuration stand under their own names, those of `arms` and `models`
under `arm` and `model`, so that `physembed.restart` knows which of their fields leave a saved state valid.
"""

from physembed.stages.liquids import (
    box,
    certificate,
    corrected_model,
    density,
    gaff_npt,
    liquid_model,
    liquid_training,
    npt,
    reference_frames,
    reference_labels,
    scan,
    structure,
    tuning,
    viscosity,
    viscosity_run,
    volume_scan,
)
from physembed.stages.molecules import (
    bond_sampling,
    evaluation,
    frames,
    gaff_md,
    gaff_topology,
    given_topology,
    labels,
    molecule,
    stability,
    starts,
    survival,
    training,
)
from physembed.stages.report import (
    figures,
    liquid_figures,
    liquid_tables,
    liquid_training_figure,
    structure_figure,
    summary,
    tables,
    viewer,
)

__all__ = [
    "bond_sampling",
    "box",
    "certificate",
    "corrected_model",
    "density",
    "evaluation",
    "figures",
    "frames",
    "gaff_md",
    "gaff_npt",
    "gaff_topology",
    "given_topology",
    "labels",
    "liquid_figures",
    "liquid_model",
    "liquid_tables",
    "liquid_training",
    "liquid_training_figure",
    "molecule",
    "npt",
    "reference_frames",
    "reference_labels",
    "scan",
    "stability",
    "starts",
    "structure",
    "structure_figure",
    "summary",
    "survival",
    "tables",
    "training",
    "tuning",
    "viewer",
    "viscosity",
    "viscosity_run",
    "volume_scan",
]
