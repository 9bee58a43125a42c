"""NPT frames of a liquid, uncorrected and corrected -> radial and angular distributions of both."""

import ase.io
import pandas as pd

from physembed.analysis.structure import ADF_COLUMNS, RDF_COLUMNS, angle_distributions, radial_distributions
from physembed.config.liquids import Structure
from physembed.liquids.replicas import equilibrated, equilibrated_from
from physembed.molecules.bonds import read_bond_table
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake) as log:
    settings = Structure(**snakemake.params.settings["structure"])
    bonds = read_bond_table(snakemake.input.bonds)[["i", "j"]].to_numpy()
    radial, angular = [pd.DataFrame(columns=RDF_COLUMNS)], [pd.DataFrame(columns=ADF_COLUMNS)]
    files = zip(snakemake.input.trajectories, snakemake.input.replicas, strict=True)
    for variant, (trajectory, replicas) in zip(("uncorrected", "corrected"), files, strict=True):
        if frames := equilibrated(ase.io.read(trajectory, ":"), equilibrated_from(read_table(replicas))):
            radial.append(radial_distributions(frames, settings).assign(variant=variant))
            angular.append(angle_distributions(frames, bonds, settings).assign(variant=variant))
        else:
            log.warning("%s: no replica survived, so there is no structure of it", variant)
    pd.concat(radial).to_csv(snakemake.output.rdf, index=False)
    pd.concat(angular).to_csv(snakemake.output.adf, index=False)
