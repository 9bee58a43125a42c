"""Unmodified training frames -> clusters of conformations and the axes of their map."""

import ase.io

from physembed.analysis.conformations import Conformations, Features
from physembed.molecules.bonds import read_bond_table
from physembed.stage import stage

with stage(snakemake):
    settings, paths = snakemake.params.settings, snakemake.input
    frames = [frame for path in paths.frames for frame in ase.io.read(path, ":")]
    features = Features(frames[0].numbers, read_bond_table(paths.bonds))(frames)
    Conformations.of(features, settings["clusters"], settings["seed"]).write(snakemake.output.conformations)
