"""Training frames -> the frames of one arm, with or without sampled bond lengths and angles."""

import ase.io

from physembed.config import Arm
from physembed.molecules.angles import read_angle_table
from physembed.molecules.bonds import read_bond_table
from physembed.sampling.arm import References, sample_frames
from physembed.stage import stage
from physembed.trajectory import write_trajectory

with stage(snakemake):
    settings, paths = snakemake.params.settings, snakemake.input
    arm, bonds, angles = Arm(**settings["arm"]), read_bond_table(paths.bonds), read_angle_table(paths.angles)
    references = References.of(arm, bonds, angles, settings["parameter_set"])
    frames = ase.io.read(paths.frames, ":")[: arm.frames]
    sampled = sample_frames(frames, bonds, angles, arm, settings["seed"], references)
    sampled.ranges.to_csv(snakemake.output.ranges, index=False)
    sampled.angle_ranges.to_csv(snakemake.output.angle_ranges, index=False)
    write_trajectory(snakemake.output.frames, sampled.frames)
