"""Topology -> trajectory of the isolated molecule and the statistics of its bond lengths."""

import numpy as np

from physembed.config import GaffMD
from physembed.molecules.bonds import bond_length_statistics, read_bond_table
from physembed.molecules.gaff_md import GaffRun
from physembed.molecules.reading import load_topology
from physembed.restart import restart_folder
from physembed.stage import stage
from physembed.trajectory import write_trajectory

with stage(snakemake):
    settings = snakemake.params.settings
    restart = restart_folder(snakemake)
    structure = load_topology(snakemake.input.prmtop, snakemake.input.inpcrd)
    frames = GaffRun(structure, GaffMD(**settings["gaff_md"]), settings["seed"], restart).run()
    positions = np.array([frame.positions for frame in frames])
    statistics = bond_length_statistics(positions, read_bond_table(snakemake.input.bonds))
    statistics.to_csv(snakemake.output.bond_lengths, index=False)
    write_trajectory(snakemake.output.trajectory, frames)
