"""Training frames -> the frames of one arm, with or without sampled bond lengths."""

import ase.io

from physembed.config import Arm
from physembed.molecules.bonds import read_bond_table
from physembed.sampling.bond_sampling import reference_force_constant, sample_bonds
from physembed.stage import stage
from physembed.trajectory import write_trajectory

with stage(snakemake):
    settings = snakemake.params.settings
    arm, bonds = Arm(**settings["arm"]), read_bond_table(snakemake.input.bonds)
    reference_k = reference_force_constant(arm, bonds, settings["parameter_set"]) if arm.bonds_per_frame else None
    frames = ase.io.read(snakemake.input.frames, ":")
    sampled = sample_bonds(frames, bonds, arm, settings["seed"], reference_k)
    sampled.ranges.to_csv(snakemake.output.ranges, index=False)
    write_trajectory(snakemake.output.frames, sampled.frames)
